//! The lists. Headings are those of the manuals: MySQL's for 8.0, 8.4 and 9.7, and MariaDB's pages
//! on the statement or function of that name.

/// Functions, by the heading in MySQL's chapter "Functions and Operators".
pub(super) const FUNCTIONS: &[(&str, &[&str])] = &[
    ("Comparison Functions and Operators", &["COALESCE"]),
    ("String Functions and Operators", &["CONCAT", "SUBSTRING"]),
    ("Aggregate Functions", &["GROUP_CONCAT"]),
    ("Information Functions", &["DATABASE"]),
    ("Locking Functions", &["GET_LOCK", "RELEASE_LOCK"]),
    // MySQL 9.6 left SHA2 where it is, and moved MD5 and SHA1 out.
    ("Encryption and Compression Functions", &["SHA2"]),
];

/// Words of statements, by the heading of the statement.
pub(super) const KNOWN_WORDS: &[(&str, &[&str])] = &[
    (
        "SELECT",
        &[
            "SELECT",
            "FROM",
            "WHERE",
            "AS",
            "ORDER",
            "GROUP",
            "BY",
            "DESC",
            "LIMIT",
            "FOR",
            "UPDATE",
            "SEPARATOR",
        ],
    ),
    ("UNION", &["UNION", "ALL"]),
    ("Index Hints", &["FORCE", "INDEX"]),
    (
        "Operators",
        &[
            "AND", "OR", "IN", "IS", "NOT", "NULL", "TRUE", "FALSE", "true", "false",
        ],
    ),
    ("CASE", &["CASE", "WHEN", "THEN", "ELSE", "END"]),
    // VALUES() is deprecated in MySQL 8.0.20 and there in 9.7; what is to come instead is not in MariaDB.
    (
        "INSERT ... ON DUPLICATE KEY UPDATE",
        &[
            "INSERT",
            "IGNORE",
            "INTO",
            "VALUES",
            "ON",
            "DUPLICATE",
            "KEY",
        ],
    ),
    ("REPLACE", &["REPLACE"]),
    ("UPDATE", &["SET"]),
    ("DELETE", &["DELETE"]),
    (
        "CREATE TABLE",
        &[
            "CREATE",
            "TABLE",
            "IF",
            "EXISTS",
            "PRIMARY",
            "UNIQUE",
            "DEFAULT",
            "AUTO_INCREMENT",
            "ENGINE",
            "INNODB",
        ],
    ),
    (
        "Data Types",
        &[
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "UNSIGNED",
            "BINARY",
            "VARBINARY",
            "BLOB",
            "TEXT",
            "BOOLEAN",
            "TIMESTAMP",
        ],
    ),
    ("Date and Time Functions", &["CURRENT_TIMESTAMP"]),
    (
        "START TRANSACTION, COMMIT, and ROLLBACK",
        &["BEGIN", "COMMIT", "ROLLBACK"],
    ),
    (
        "SET TRANSACTION",
        &[
            "SESSION",
            "TRANSACTION",
            "ISOLATION",
            "LEVEL",
            "READ",
            "COMMITTED",
        ],
    ),
    ("SET NAMES", &["NAMES", "COLLATE", "UTF8MB4"]),
];

/// Variables that all have, and that sessions may set.
pub(super) const VARIABLES: &[&str] = &[
    "group_concat_max_len",
    "innodb_lock_wait_timeout",
    "sql_mode",
    "time_zone",
];

/// What one or the other has, and people reach for.
pub(super) const NOT_COMMON: &[(&str, &str)] = &[
    (
        "MD5",
        "MySQL 9.6 moved it into a component that is to be installed; SHA2 stayed",
    ),
    (
        "SHA1",
        "MySQL 9.6 moved it into a component that is to be installed; SHA2 stayed",
    ),
    (
        "SHA",
        "MySQL 9.6 moved it into a component that is to be installed; SHA2 stayed",
    ),
    ("PASSWORD", "MySQL 8.0 removed it"),
    ("ENCODE", "MySQL 8.0 removed it"),
    ("DECODE", "MySQL 8.0 removed it"),
    ("RETURNING", "MariaDB's alone"),
    ("SEQUENCE", "MariaDB's alone"),
    ("NEXTVAL", "MariaDB's alone"),
    ("ANY_VALUE", "not in MariaDB 10.6"),
    ("LATERAL", "MySQL's alone"),
    ("UUID_TO_BIN", "MySQL's alone"),
    ("INTERSECT", "not in MySQL 8.0 before 8.0.31"),
    ("EXCEPT", "not in MySQL 8.0 before 8.0.31"),
    ("OFFSET", "reserved in MariaDB 10.6"),
];

/// Names of this project's tables, columns, indexes and parts of statements, and of the migrator's.
pub(super) const NAMES: &[&str] = &[
    // Tables and parts of statements.
    "space",
    "node",
    "holding",
    "lease",
    "bandwidth",
    "instance",
    "_sqlx_migrations",
    "schema_turn",
    "page",
    "stretch",
    // Indexes.
    "space_by_group",
    "node_by_stamp",
    "holding_by_holder",
    // Columns.
    "id",
    "grp",
    "family",
    "holder",
    "seen",
    "stamp",
    "writer",
    "state",
    "epoch",
    "seq",
    "held",
    "digest",
    "key_hash",
    "name",
    "address",
    "secret",
    "owner",
    "beat",
    "until",
    "from_rack",
    "to_rack",
    "weight",
    "log_rate",
    "bytes",
    "busy_us",
    "version",
    "description",
    "installed_on",
    "success",
    "checksum",
    "execution_time",
];

/// Words that one of the databases reserves, and that were free in an earlier one: the newer part of
/// the manuals' lists "Keywords and Reserved Words" and "Reserved Words".
#[cfg(test)]
pub(super) const RESERVED: &[&str] = &[
    "CUBE",
    "CUME_DIST",
    "DENSE_RANK",
    "EMPTY",
    "EXCEPT",
    "EXTERNAL",
    "FIRST_VALUE",
    "FUNCTION",
    "GENERATED",
    "GET",
    "GROUPING",
    "GROUPS",
    "INTERSECT",
    "IO_AFTER_GTIDS",
    "IO_BEFORE_GTIDS",
    "JSON_TABLE",
    "LAG",
    "LAST_VALUE",
    "LATERAL",
    "LEAD",
    "LIBRARY",
    "MANUAL",
    "MASTER_BIND",
    "NTH_VALUE",
    "NTILE",
    "OF",
    "OFFSET",
    "OPTIMIZER_COSTS",
    "OVER",
    "PARALLEL",
    "PARTITION",
    "PERCENT_RANK",
    "PERSIST",
    "PERSIST_ONLY",
    "PORTION",
    "QUALIFY",
    "RANK",
    "RECURSIVE",
    "RETURNING",
    "ROW",
    "ROW_NUMBER",
    "ROWS",
    "SETS",
    "STORED",
    "SYSTEM",
    "TABLESAMPLE",
    "VECTOR",
    "VIRTUAL",
    "WINDOW",
];
