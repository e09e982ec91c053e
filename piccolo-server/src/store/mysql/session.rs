//! Statements beside the store's own: how a connection is set up, and how
//! one instance alone changes the schema.

/// Sent on each new connection.
pub(super) const SET_UP: [&str; 3] = [
    // Rows that are read and not found must not be locked: every row that is written is guarded by
    // its node's row.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    // Shorter than what an answer may take: a row that somebody holds is another thing than a server
    // that is away.
    "SET SESSION innodb_lock_wait_timeout = 3",
    "SET SESSION group_concat_max_len = 1048576",
];

/// Takes the lock of the database's schema, waiting for up to a minute; returns 0 on timeout. The
/// migrator's own lock does not work on MariaDB, which rejects its negative timeout. The name is as
/// long as a lock's may be at most, however long the database's is.
pub(super) const LOCK: &str =
    "SELECT COALESCE(GET_LOCK(CONCAT('piccolo-', SUBSTRING(SHA2(DATABASE(), 256), 1, 56)), 60), 0)";
/// Gives it back.
pub(super) const UNLOCK: &str =
    "SELECT RELEASE_LOCK(CONCAT('piccolo-', SUBSTRING(SHA2(DATABASE(), 256), 1, 56)))";
