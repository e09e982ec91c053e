//! SQLite: a file, no set-up.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::access::{Need, Obstacle, obstacle};
use futures_util::{Stream, TryStreamExt as _};
use log::LevelFilter;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Sqlite as Db, SqliteConnection,
    SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};

use crate::store::{
    Connections,
    engine::{Dialect, Engine, InOne, Map, Work},
    error::{Cause, cause},
    statement::{Arg, Sql, Statement},
    timing::timed,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// An SQLite file. One connection writes, as SQLite itself has it; others read beside it.
#[derive(Debug)]
pub(crate) struct Sqlite {
    file: PathBuf,
    readers: SqlitePool,
    writer: SqlitePool,
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// This process lacks a permission: SQLite's message is only that it could not open something.
    #[error(transparent)]
    Obstacle(Obstacle),
    /// SQLite's message.
    #[error(transparent)]
    Database(sqlx::Error),
}

/// A transaction of the one connection that writes.
#[derive(Debug)]
pub(crate) struct SqliteWork(Transaction<'static, Db>);

impl Sqlite {
    /// Opens the file, and makes it where it is not there.
    ///
    /// # Errors
    /// When that fails; where permissions are why, with these as the cause.
    pub(crate) async fn open(file: &Path, readers: u32) -> Result<Self, OpenError> {
        let opened = Self::try_open(file, readers).await;
        opened.map_err(|error| match obstacle_to(file) {
            Some(obstacle) => OpenError::Obstacle(obstacle),
            None => OpenError::Database(error),
        })
    }

    async fn try_open(file: &Path, readers: u32) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk before it is acknowledged; many changes share one.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            // How long statements take is measured, and under load many are slow.
            .log_slow_statements(LevelFilter::Debug, Duration::from_secs(5))
            .statement_cache_capacity(256)
            .row_buffer_size(512)
            // The rest is read through the kernel's cache. Not mapped: whenever something was written,
            // a reader would take the whole mapping down, and its pages in again one by one.
            .pragma("cache_size", "-2048")
            .pragma("wal_autocheckpoint", "4000");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_slow_level(LevelFilter::Debug)
            .max_lifetime(None)
            .idle_timeout(None)
            .after_release(|connection, _| Box::pin(is_settled(connection)))
            .connect_with(options.clone().pragma("cache_size", "-16384"))
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(readers)
            .acquire_slow_level(LevelFilter::Debug)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options);
        Ok(Self {
            file: file.to_owned(),
            readers,
            writer,
        })
    }
}

impl Engine for Sqlite {
    type Work = SqliteWork;

    // It has one connection that writes.
    const LANES: usize = 1;

    const DIALECT: Dialect = Dialect {
        insert_ignore: "INSERT OR IGNORE",
        // Text with a NUL in it is not defined, so that bytes go as digits. A row costs a thread's
        // turn and a dozen allocations.
        keys_in_one: "unhex(group_concat(hex(key_hash), ''))",
        unsorted: "",
        holders_in_one: InOne {
            before: "SELECT coalesce(unhex(group_concat(hex(holder), '')), x'') FROM (",
            after: ")",
            from: 4,
        },
        by_node: "",
        for_update: "",
        on_known_node: " ON CONFLICT (space, holder) DO UPDATE SET",
        inserted: ("excluded.", ""),
        nearest: "SELECT holder FROM (SELECT holder FROM holding \
                WHERE space = ? AND key_hash = ? AND holder < ? ORDER BY holder DESC LIMIT ?) \
            UNION ALL SELECT holder FROM (SELECT holder FROM holding \
                WHERE space = ? AND key_hash = ? AND holder >= ? ORDER BY holder LIMIT ?)",
    };

    async fn rows<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        timed(
            statement.verb(),
            all(query(statement).fetch(&self.readers), map),
        )
        .await
    }

    async fn begin(&self) -> Result<SqliteWork, sqlx::Error> {
        // Take the lock now: waiting for it at the first write could fail half-way.
        timed("begin", self.writer.begin_with("BEGIN IMMEDIATE"))
            .await
            .map(SqliteWork)
    }

    fn connections(&self) -> Connections {
        Connections::of(&[self.readers.clone(), self.writer.clone()])
    }

    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        // Two servers may start at once, and the migrator itself locks nothing in SQLite.
        let name = beside(&self.file, ".lock");
        let locked = tokio::task::spawn_blocking(move || {
            let lock = File::create(name)?;
            lock.lock()?;
            Ok(lock)
        });
        let lock = locked.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        let lock = lock.map_err(|error| match obstacle_to(&self.file) {
            // A permanent error, not an outage.
            Some(obstacle) => sqlx::Error::Configuration(Box::new(obstacle)),
            None => sqlx::Error::Io(error),
        })?;
        let done = MIGRATIONS.run(&self.writer).await;
        drop(lock);
        done
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        cause(error) == Cause::Conflict
    }

    fn is_no_table(error: &sqlx::Error) -> bool {
        // SQLite has no number for it.
        error
            .as_database_error()
            .is_some_and(|error| error.message().starts_with("no such table"))
    }
}

impl Work for SqliteWork {
    async fn rows<T: Send>(
        &mut self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let verb = statement.verb();
        timed(verb, all(query(statement).fetch(&mut *self.0), map)).await
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        let verb = statement.verb();
        let done = timed(verb, query(statement).execute(&mut *self.0)).await?;
        Ok(done.rows_affected())
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        timed("commit", self.0.commit()).await
    }
}

/// Whether a connection may be used again. SQLite rolls a transaction back by itself where the disk is
/// full or fails; the roll-back that follows is refused then, and the connection would be taken for
/// one in a transaction for ever. The pool replaces it.
async fn is_settled(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // It answers after the roll-back of a transaction that was dropped.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// What keeps this process from writing the file, or one of those that SQLite and the migrations put
/// beside it.
fn obstacle_to(file: &Path) -> Option<Obstacle> {
    let files = ["", "-wal", "-shm", "-journal", ".lock"].map(|ending| beside(file, ending));
    files.iter().find_map(|file| obstacle(file, Need::Write))
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.to_owned().into_os_string();
    name.push(ending);
    name.into()
}

async fn all<T>(
    mut rows: impl Stream<Item = Result<SqliteRow, sqlx::Error>> + Unpin,
    map: Map<T>,
) -> Result<Vec<T>, sqlx::Error> {
    let mut all = Vec::new();
    while let Some(row) = rows.try_next().await? {
        all.push(map(&row)?);
    }
    Ok(all)
}

const LIMIT: (&str, &str) = ("LIMIT ?", "LIMIT ? + 0");

fn query(statement: Statement) -> Query<'static, Db, SqliteArguments> {
    let query = if statement.text().contains(LIMIT.0) {
        // SQLite plans a statement anew for each value of a bare LIMIT parameter.
        sqlx::query(AssertSqlSafe(statement.text().replace(LIMIT.0, LIMIT.1)))
    } else {
        match statement.sql {
            Sql::Fixed(sql) => sqlx::query(sql),
            Sql::Built(sql) => sqlx::query(AssertSqlSafe(sql)),
        }
    };
    statement
        .args
        .into_iter()
        .fold(query, |query, arg| match arg {
            Arg::Int(number) => query.bind(number),
            Arg::MaybeInt(number) => query.bind(number),
            Arg::Hash(bytes) => query.bind(bytes.to_vec()),
            Arg::Holder(holder) => query.bind(holder.as_slice().to_vec()),
            Arg::Text(text) => query.bind(text),
        })
}
