//! Why a store did not do what it was asked for.

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database could not be reached, or broke off.
    #[error("the database did not {0}")]
    Database(&'static str, #[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Every number for a space is taken.
    #[error("there are too many groups")]
    TooManySpaces,
}
