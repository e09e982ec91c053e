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
pub(super) const STATEMENTS: [&str; 7] = [MAKE, TAKE, READ, TAKE_OVER, WRITE, KEEP, GIVE_BACK];

const MAKE: &str = "CREATE TABLE IF NOT EXISTS schema_turn (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, \
    owner BIGINT NOT NULL, beat BIGINT NOT NULL) ENGINE = InnoDB";
const TAKE: &str = "INSERT IGNORE INTO schema_turn (id, owner, beat) VALUES (1, ?, 0)";
const READ: &str = "SELECT owner, beat FROM schema_turn WHERE id = 1";
const TAKE_OVER: &str =
    "UPDATE schema_turn SET owner = ?, beat = 0 WHERE id = 1 AND owner = ? AND beat = ?";
const WRITE: &str = "INSERT INTO schema_turn (id, owner, beat) VALUES (2, 0, 0) \
    ON DUPLICATE KEY UPDATE beat = beat + 1";
const KEEP: &str = "UPDATE schema_turn SET beat = beat + 1 WHERE id = 1 AND owner = ?";
const GIVE_BACK: &str = "DELETE FROM schema_turn WHERE id = 1 AND owner = ?";

/// Longest wait for one's turn.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Interval between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// An owner whose row stays the same for this many polls is gone. Polls are counted, not time: no clock is
/// compared, and while a change of the schema stops all writes of a cluster no owner can write its row.
const GONE_AFTER_POLLS: u32 = 20;
/// Interval at which an owner writes its row.
const BEAT: Duration = Duration::from_secs(3);

/// The turn: at most one exists at a time.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pool: &'a MySqlPool,
    owner: i64,
}

/// An owner as of the last poll, and the number of polls without a change.
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
        let until = Instant::now() + MAX_WAIT;
        let mut silence = None;
        while !unless_in_the_way(turn.attempt(&mut silence).await)? {
            if Instant::now() > until {
                return Err(sqlx::Error::PoolTimedOut);
            }
            sleep(POLL_INTERVAL).await;
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
        let seen: Option<(i64, i64)> = sqlx::query_as(READ).fetch_optional(self.pool).await?;
        let Some(seen) = seen else {
            return Ok(false);
        };
        let looks = match *silence {
            Some(before) if before.seen == seen => before.looks + 1,
            _ => 0,
        };
        *silence = Some(Silence { seen, looks });
        if looks < GONE_AFTER_POLLS {
            return Ok(false);
        }
        let take_over = sqlx::query(TAKE_OVER).bind(self.owner);
        let take_over = take_over.bind(seen.0).bind(seen.1);
        Ok(take_over.execute(self.pool).await?.rows_affected() == 1)
    }

    /// Writes the owner's row at intervals. Ends when another owner took over, or a write fails.
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

    /// Releases the turn. Where that fails, the next owner begins once it counts this one as gone.
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

/// Retries later where another owner's change came first.
fn unless_in_the_way(attempt: Result<bool, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match attempt {
        Err(error) if cause(&error) == Cause::Conflict => Ok(false),
        done => done,
    }
}
