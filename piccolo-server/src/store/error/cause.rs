//! What kind of failure an error of the database is.

use sqlx::mysql::MySqlDatabaseError;

use crate::store::error::misfit::Misfit;

/// The remedy for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Cause {
    /// The server does not answer: its breaker opens, and a new connection finds it again.
    Away,
    /// An operator has to change a setting; the breaker opens as well.
    Misfit,
    /// Another transaction was in the way; the same one may well succeed now.
    Conflict,
    /// The server closed the connection earlier, and reports it at the next statement.
    Closed,
    /// The statement is wrong, or what it gave.
    Other,
}

/// The cause of a failure.
pub(in crate::store) fn cause(error: &sqlx::Error) -> Cause {
    if Misfit::of(error).is_some() {
        return Cause::Misfit;
    }
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Cause::Away,
        sqlx::Error::Database(error) => {
            let number = error
                .try_downcast_ref::<MySqlDatabaseError>()
                .map(MySqlDatabaseError::number);
            let state = error.code();
            number.map_or(Cause::Other, |number| {
                of_mysql(number, state.as_deref().unwrap_or_default())
            })
        }
        _ => Cause::Other,
    }
}

/// By the number, which is MySQL's and MariaDB's own, and by the SQL standard's class: 08 is for
/// connections that are refused or end, 40 for transactions that were rolled back.
fn of_mysql(number: u16, state: &str) -> Cause {
    match number {
        // It waited for a lock for too long; a row changed since it was read (MariaDB 11.6); a
        // replicated change took precedence, or an operator ended the statement.
        1205 | 1020 | 1317 => Cause::Conflict,
        // Idle for longer than wait_timeout, says MySQL 8.0.24 and later.
        4031 => Cause::Closed,
        // Too many connections, of all or of this user or host; it shuts down; it has ended this
        // connection. It takes no writes any more: another server does. It has no room on its disk.
        // A commit failed on the way to the other members, or this one is not in the group.
        1040 | 1203 | 1226 | 1129 | 1053 | 1927 | 1290 | 1792 | 1836 | 1021 | 1114 | 1180
        | 3100 => Cause::Away,
        // The class holds 1213, a deadlock or, with Galera, another member's change that came first;
        // and 3101, the same with Group Replication.
        _ if state.starts_with("40") => Cause::Conflict,
        _ if state.starts_with("08") => Cause::Away,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_classes_tell_the_cause() {
        for (number, state, cause) in [
            (1213, "40001", Cause::Conflict),
            (3101, "40000", Cause::Conflict),
            (1205, "HY000", Cause::Conflict),
            (1020, "HY000", Cause::Conflict),
            (1317, "70100", Cause::Conflict),
            (1047, "08S01", Cause::Away),
            (1180, "HY000", Cause::Away),
            (3100, "HY000", Cause::Away),
            (1290, "HY000", Cause::Away),
            (1203, "42000", Cause::Away),
            (4031, "HY000", Cause::Closed),
            (1064, "42000", Cause::Other),
            (1146, "42S02", Cause::Other),
        ] {
            assert_eq!(of_mysql(number, state), cause, "{number}");
        }
    }
}
