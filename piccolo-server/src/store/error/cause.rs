//! What kind of failure an error of the database is.

use sqlx::{mysql::MySqlDatabaseError, sqlite::SqliteError};

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
    /// The file cannot be opened or written: when a server starts, a setting; later, perhaps a
    /// disk that was mounted anew, or that fails.
    Barred,
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
            let code = error.code();
            let code = code.as_deref().unwrap_or_default();
            if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
                of_mysql(error.number(), code)
            } else if error.try_downcast_ref::<SqliteError>().is_some() {
                code.parse().map_or(Cause::Other, of_sqlite)
            } else {
                Cause::Other
            }
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
        // connection. It takes no writes any more: another server does. It has no room on its disk,
        // or cannot write there.
        // A commit failed on the way to the other members, or this one is not in the group.
        1040 | 1203 | 1226 | 1129 | 1053 | 1927 | 1290 | 1792 | 1836 | 1021 | 1026 | 1030
        | 1114 | 1180 | 3100 => Cause::Away,
        // The class holds 1213, a deadlock or, with Galera, another member's change that came first;
        // and 3101, the same with Group Replication.
        _ if state.starts_with("40") => Cause::Conflict,
        _ if state.starts_with("08") => Cause::Away,
        _ => Cause::Other,
    }
}

/// By the result code, whose low byte is the primary one.
fn of_sqlite(code: u32) -> Cause {
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED.
        5 | 6 => Cause::Conflict,
        // SQLITE_NOMEM, SQLITE_INTERRUPT, SQLITE_IOERR, SQLITE_FULL, SQLITE_PROTOCOL (it could not
        // take a lock).
        7 | 9 | 10 | 13 | 15 => Cause::Away,
        // SQLITE_READONLY, SQLITE_CANTOPEN.
        8 | 14 => Cause::Barred,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_tell_the_cause() {
        for (code, cause) in [
            (5, Cause::Conflict),
            // SQLITE_BUSY_SNAPSHOT.
            (517, Cause::Conflict),
            (13, Cause::Away),
            // SQLITE_IOERR_WRITE.
            (778, Cause::Away),
            // SQLITE_READONLY_DBMOVED.
            (1032, Cause::Barred),
            (14, Cause::Barred),
            // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CORRUPT.
            (1555, Cause::Other),
            (11, Cause::Other),
        ] {
            assert_eq!(of_sqlite(code), cause, "{code}");
        }
    }

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
            (1021, "HY000", Cause::Away),
            (1030, "HY000", Cause::Away),
            (1203, "42000", Cause::Away),
            (4031, "HY000", Cause::Closed),
            (1064, "42000", Cause::Other),
            (1146, "42S02", Cause::Other),
        ] {
            assert_eq!(of_mysql(number, state), cause, "{number}");
        }
    }
}
