//! Why a call of a store failed.

mod cause;
mod misfit;

use sqlx::migrate::MigrateError;

pub(super) use self::{
    cause::{Cause, cause},
    misfit::Misfit,
};

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database could not be reached, broke off, or refused.
    #[error("the database did not {0}")]
    Database(&'static str, #[source] sqlx::Error),
    /// An operator has to change a setting, here or at the database: a retry does not help.
    #[error(transparent)]
    Misfit(Misfit),
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
    /// Every number for a space is in use.
    #[error("there are too many groups already for a new one")]
    TooManySpaces,
}

impl StoreError {
    /// Of something that the database was to do.
    pub(super) fn of(what: &'static str, error: sqlx::Error) -> Self {
        match Misfit::of(&error) {
            Some(misfit) => Self::Misfit(misfit),
            None => Self::Database(what, error),
        }
    }

    /// Of bringing the schema up to date.
    pub(super) fn migrate(error: MigrateError) -> Self {
        match executed(&error).and_then(Misfit::of) {
            Some(misfit) => Self::Misfit(misfit),
            None => Self::Migrate(error),
        }
    }

    /// Whether a retry may succeed without an operator's help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self.cause(),
            Some(Cause::Away | Cause::Conflict | Cause::Closed)
        )
    }

    /// Whether callers are told to come again. While a server runs, a setting that does not fit may
    /// be of one of several database servers, or be mended there.
    pub(crate) fn is_refusal_for_now(&self) -> bool {
        let is_setting = matches!(self, Self::Misfit(_)) || self.cause() == Some(Cause::Barred);
        is_setting || self.may_pass()
    }

    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Database(_, error) => Some(cause(error)),
            Self::Migrate(error) => executed(error).map(cause),
            Self::Misfit(_) | Self::Schema { .. } | Self::TooManySpaces => None,
        }
    }
}

fn executed(error: &MigrateError) -> Option<&sqlx::Error> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Some(error),
        _ => None,
    }
}
