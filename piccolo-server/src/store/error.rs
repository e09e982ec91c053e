//! Why a store did not do what it was asked for.

use sqlx::migrate::MigrateError;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database could not be reached, or broke off.
    #[error("the database did not {0}")]
    Database(&'static str, #[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] MigrateError),
    /// The schema is older than the program, which was told to leave it alone.
    #[error(
        "the schema lacks migration {migration}: run `piccolo-server migrate` with the same \
         --database, or leave --no-migrate out"
    )]
    Schema {
        /// The first one that is missing.
        migration: i64,
    },
    /// Every number for a space is taken.
    #[error("there are too many groups already for a new one")]
    TooManySpaces,
}

impl StoreError {
    /// Whether the database cannot be reached now, and may well be later.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Database(_, error) | Self::Migrate(MigrateError::Execute(error)) => {
                is_away(error)
            }
            Self::Migrate(_) | Self::Schema { .. } | Self::TooManySpaces => false,
        }
    }
}

pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // It takes no connections now, or ends those that it has: 08 is the SQL standard's class for
        // that, the numbers are MySQL's own. Or it takes no writes any more: another server does,
        // and is found by connecting anew.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("08"))
                || error
                    .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                    .is_some_and(|error| matches!(error.number(), 1040 | 1053 | 1290 | 1836 | 1927))
        }
        _ => false,
    }
}
