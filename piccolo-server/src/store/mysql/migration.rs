//! Brings the schema up to date, one instance after another.

use sqlx::{
    MySqlPool,
    migrate::{MigrateError, Migrator},
};

use super::{link::Link, session, turn::Turn};

/// One for the lock, one for the migrator, one for the turn.
const CONNECTIONS: u32 = 3;

/// Applies what is missing. On connections of its own: the migrator keeps a lock where it fails, which
/// ends with them.
pub(super) async fn run(migrations: &Migrator, link: &Link) -> Result<(), MigrateError> {
    let pool = link.apart(CONNECTIONS);
    let done = locked(migrations, &pool).await;
    pool.close().await;
    done
}

/// One instance after another of those that use this server, and of these one after another in its
/// cluster: a migration that two begin at once is left half done.
async fn locked(migrations: &Migrator, pool: &MySqlPool) -> Result<(), MigrateError> {
    let mut connection = pool.acquire().await?;
    let locked: i64 = sqlx::query_scalar(session::LOCK)
        .fetch_one(&mut *connection)
        .await?;
    if locked != 1 {
        return Err(MigrateError::Execute(sqlx::Error::PoolTimedOut));
    }
    let turn = Turn::take(pool).await?;
    let done = tokio::select! {
        done = migrations.run(pool) => done,
        error = turn.keep() => Err(error.into()),
    };
    turn.give_back().await;
    sqlx::query(session::UNLOCK)
        .execute(&mut *connection)
        .await?;
    done
}
