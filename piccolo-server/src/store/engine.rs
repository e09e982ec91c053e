//! What a database engine gives: rows, transactions, and its spelling of a few statements.

use std::{fmt, future::Future};

use sqlx::{ColumnIndex, Decode, Row, migrate::Migrator};

use crate::store::{Connections, statement::Statement};

/// A database engine.
pub(crate) trait Engine: fmt::Debug + Send + Sync + 'static {
    /// A transaction.
    type Work: Work;

    /// Its spelling of statements that differ between engines.
    const DIALECT: Dialect;

    /// Transactions that change sets and do not wait for each other.
    const LANES: usize;

    /// Reads outside of any transaction.
    fn rows<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send;

    /// Begins a transaction that writes.
    fn begin(&self) -> impl Future<Output = Result<Self::Work, sqlx::Error>> + Send;

    /// [`rows`](Self::rows) from wherever it is cheapest; they may be some seconds old.
    fn old_rows<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send {
        self.rows(statement, map)
    }

    /// Whether [`old_rows`](Self::old_rows) may be old.
    fn lags(&self) -> bool {
        false
    }

    /// How many connections there are.
    fn connections(&self) -> Connections;

    /// The embedded migrations.
    fn migrations() -> &'static Migrator;

    /// Applies the embedded migrations.
    fn migrate(&self) -> impl Future<Output = Result<(), sqlx::migrate::MigrateError>> + Send;

    /// Whether another transaction was in the way and the same one may well succeed now.
    fn is_conflict(error: &sqlx::Error) -> bool;

    /// Whether a table is not there.
    fn is_no_table(error: &sqlx::Error) -> bool;
}

/// A transaction; a drop without commit rolls it back.
pub(crate) trait Work: Send {
    /// Reads.
    fn rows<T: Send>(
        &mut self,
        statement: Statement,
        map: Map<T>,
    ) -> impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send;

    /// Writes; gives the number of rows.
    fn execute(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Makes it last.
    fn commit(self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Parses one row.
pub(crate) type Map<T> = fn(&dyn Columns) -> Result<T, sqlx::Error>;

/// One row.
pub(crate) trait Columns {
    fn int(&self, index: usize) -> Result<i64, sqlx::Error>;
    fn maybe_int(&self, index: usize) -> Result<Option<i64>, sqlx::Error>;
    fn bytes(&self, index: usize) -> Result<&[u8], sqlx::Error>;
}

impl<R: Row> Columns for R
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database>,
    for<'r> Option<i64>: Decode<'r, R::Database>,
    for<'r> &'r [u8]: Decode<'r, R::Database>,
{
    fn int(&self, index: usize) -> Result<i64, sqlx::Error> {
        self.try_get_unchecked(index)
    }

    fn maybe_int(&self, index: usize) -> Result<Option<i64>, sqlx::Error> {
        self.try_get_unchecked(index)
    }

    fn bytes(&self, index: usize) -> Result<&[u8], sqlx::Error> {
        self.try_get_unchecked(index)
    }
}

/// How many short values are read as one long one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InOne {
    /// Stand before and after the query.
    pub(crate) before: &'static str,
    pub(crate) after: &'static str,
    /// Number of rows from which on one long value costs less than the rows.
    pub(crate) from: u32,
}

/// Differences in spelling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) insert_ignore: &'static str,
    /// All the key hashes of a group of rows one after another; it may be cut off.
    pub(crate) keys_in_one: &'static str,
    /// Ends a grouped query whose order does not matter, where the engine would sort otherwise.
    pub(crate) unsorted: &'static str,
    /// All the holders of a query's rows one after another.
    pub(crate) holders_in_one: InOne,
    /// Behind the table's name: reads it by the nodes' own keys, where the engine would look longer
    /// for the better index than it takes to read.
    pub(crate) by_node: &'static str,
    /// Locks the rows that a transaction reads; empty where a transaction locks everything.
    pub(crate) for_update: &'static str,
    /// Begins the assignments of an upsert into `node`.
    pub(crate) on_known_node: &'static str,
    /// Stands before and after a column's name, for the value that an upsert would have inserted.
    pub(crate) inserted: (&'static str, &'static str),
    /// Neighbours of a place: takes space, key and place, the number of rows, and all four again.
    pub(crate) nearest: &'static str,
}

impl Connections {
    pub(super) fn of<DB: sqlx::Database>(pools: &[sqlx::Pool<DB>]) -> Self {
        let idle = |pool: &sqlx::Pool<DB>| u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        Self {
            open: pools.iter().map(sqlx::Pool::size).sum(),
            idle: pools.iter().map(idle).sum(),
        }
    }
}
