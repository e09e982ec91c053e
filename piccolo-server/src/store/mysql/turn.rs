//! One instance at a time in a whole cluster, of which each member takes changes: a lock is known to the
//! member alone that gave it, but of two changes of one row only one is committed.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use sqlx::MySqlPool;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::store::error::{Cause, cause};

/// All that is sent.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 7] = [MAKE, TAKE, LOOK, TAKE_OVER, WRITE, KEEP, GIVE_BACK];

const MAKE: &str = "CREATE TABLE IF NOT EXISTS schema_turn (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, \
    owner BIGINT NOT NULL, beat BIGINT NOT NULL) ENGINE = InnoDB";
const TAKE: &str = "INSERT IGNORE INTO schema_turn (id, owner, beat) VALUES (1, ?, 0)";
const LOOK: &str = "SELECT owner, beat FROM schema_turn WHERE id = 1";
const TAKE_OVER: &str =
    "UPDATE schema_turn SET owner = ?, beat = 0 WHERE id = 1 AND owner = ? AND beat = ?";
const WRITE: &str = "INSERT INTO schema_turn (id, owner, beat) VALUES (2, 0, 0) \
    ON DUPLICATE KEY UPDATE beat = beat + 1";
const KEEP: &str = "UPDATE schema_turn SET beat = beat + 1 WHERE id = 1 AND owner = ?";
const GIVE_BACK: &str = "DELETE FROM schema_turn WHERE id = 1 AND owner = ?";

/// Longest wait for one's turn.
const WAIT: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// An owner that said nothing during so many looks is gone. Looks are counted, not time: no clock is
/// asked, and while a change of the schema stops all writes of a cluster nobody can say anything.
const SILENT: u32 = 20;
/// How often an owner says that it is there.
const BEAT: Duration = Duration::from_secs(3);

/// Is held while nobody else holds one.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pool: &'a MySqlPool,
    owner: i64,
}

/// An owner as it was last seen, and during how many looks.
#[derive(Debug, Clone, Copy)]
struct Silence {
    seen: (i64, i64),
    looks: u32,
}

impl<'a> Turn<'a> {
    /// Waits for it.
    ///
    /// # Errors
    ///
    /// When another owner kept it for a minute, or the database does not answer.
    pub(super) async fn take(pool: &'a MySqlPool) -> Result<Self, sqlx::Error> {
        let owner = RandomState::new().hash_one(()).cast_signed();
        let turn = Self { pool, owner };
        let until = Instant::now() + WAIT;
        let mut silence = None;
        while !unless_in_the_way(turn.attempt(&mut silence).await)? {
            if Instant::now() > until {
                return Err(sqlx::Error::PoolTimedOut);
            }
            sleep(PAUSE).await;
        }
        Ok(turn)
    }

    async fn attempt(&self, silence: &mut Option<Silence>) -> Result<bool, sqlx::Error> {
        sqlx::query(MAKE).execute(self.pool).await?;
        let take = sqlx::query(TAKE).bind(self.owner);
        if take.execute(self.pool).await?.rows_affected() == 1 {
            return Ok(true);
        }
        sqlx::query(WRITE).execute(self.pool).await?;
        let seen: Option<(i64, i64)> = sqlx::query_as(LOOK).fetch_optional(self.pool).await?;
        let Some(seen) = seen else {
            return Ok(false);
        };
        let looks = match *silence {
            Some(before) if before.seen == seen => before.looks + 1,
            _ => 0,
        };
        *silence = Some(Silence { seen, looks });
        if looks < SILENT {
            return Ok(false);
        }
        let take_over = sqlx::query(TAKE_OVER).bind(self.owner);
        let take_over = take_over.bind(seen.0).bind(seen.1);
        Ok(take_over.execute(self.pool).await?.rows_affected() == 1)
    }

    /// Says again and again that the owner is there. Ends when it is not believed, or not heard.
    pub(super) async fn keep(&self) -> sqlx::Error {
        loop {
            sleep(BEAT).await;
            let keep = sqlx::query(KEEP).bind(self.owner).execute(self.pool);
            let kept = keep.await.map(|done| done.rows_affected() == 1);
            match kept {
                Ok(true) => {}
                Ok(false) => return sqlx::Error::PoolTimedOut,
                Err(error) if cause(&error) == Cause::Conflict => {}
                Err(error) => return error,
            }
        }
    }

    /// Lets the next one begin. Where that fails, it begins when it takes this one for gone.
    pub(super) async fn give_back(self) {
        let give_back = || sqlx::query(GIVE_BACK).bind(self.owner).execute(self.pool);
        for _ in 0..3 {
            match give_back().await {
                Err(error) if cause(&error) == Cause::Conflict => {}
                Err(error) => {
                    debug!(%error, "the next one was not told that it may change the schema");
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}

/// Not yet, where another one's change came first.
fn unless_in_the_way(attempt: Result<bool, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match attempt {
        Err(error) if cause(&error) == Cause::Conflict => Ok(false),
        done => done,
    }
}
