//! MySQL, MariaDB, and what speaks their protocol.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Executor as _, MySql as Db, MySqlPool, Row as _,
    Transaction,
    migrate::{MigrateError, Migrator},
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlPoolOptions, MySqlRow},
    query::Query,
};

use crate::store::{
    engine::{Columns, Dialect, Engine, Map, Work},
    statement::{Arg, Sql, Statement},
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mysql");

/// A MySQL or MariaDB server.
#[derive(Debug)]
pub(crate) struct MySql {
    pool: MySqlPool,
}

#[derive(Debug)]
pub(crate) struct MySqlWork(Transaction<'static, Db>);

impl MySql {
    /// Connects when it is first used, and again whenever a connection is lost.
    pub(crate) fn new(options: MySqlConnectOptions, connections: u32) -> Self {
        let options = options
            .statement_cache_capacity(128)
            .disable_statement_logging();
        let pool = MySqlPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(2))
            .idle_timeout(Duration::from_mins(5))
            .max_lifetime(Duration::from_hours(1))
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // Rows that are read and not found must not be locked: every row that is
                    // written is guarded by its node's row.
                    connection
                        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                        .await?;
                    connection
                        .execute("SET SESSION innodb_lock_wait_timeout = 5")
                        .await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Self { pool }
    }
}

impl Engine for MySql {
    type Work = MySqlWork;

    const DIALECT: Dialect = Dialect {
        insert_ignore: "INSERT IGNORE",
        row_list: ("(", ")"),
        for_update: " FOR UPDATE",
        on_known_node: " ON DUPLICATE KEY UPDATE",
        inserted: ("VALUES(", ")"),
        greatest: "GREATEST",
        nearest: "(SELECT holder FROM holding \
                WHERE space = ? AND key_hash = ? AND holder < ? ORDER BY holder DESC LIMIT ?) \
            UNION ALL (SELECT holder FROM holding \
                WHERE space = ? AND key_hash = ? AND holder >= ? ORDER BY holder LIMIT ?)",
    };

    async fn rows<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let mut rows = query(statement).fetch(&self.pool);
        let mut all = Vec::new();
        while let Some(row) = rows.try_next().await? {
            all.push(map(&row)?);
        }
        Ok(all)
    }

    async fn begin(&self) -> Result<MySqlWork, sqlx::Error> {
        self.pool.begin().await.map(MySqlWork)
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        MIGRATIONS.run(&self.pool).await
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        // A deadlock, and a lock that was waited for too long.
        error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
            .is_some_and(|e| matches!(e.number(), 1213 | 1205))
    }
}

impl Work for MySqlWork {
    async fn rows<T: Send>(
        &mut self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let mut rows = query(statement).fetch(&mut *self.0);
        let mut all = Vec::new();
        while let Some(row) = rows.try_next().await? {
            all.push(map(&row)?);
        }
        Ok(all)
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(query(statement)
            .execute(&mut *self.0)
            .await?
            .rows_affected())
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}

fn query(statement: Statement) -> Query<'static, Db, MySqlArguments> {
    let query = match statement.sql {
        Sql::Fixed(sql) => sqlx::query(sql),
        Sql::Built(sql) => sqlx::query(AssertSqlSafe(sql)),
    };
    statement
        .args
        .into_iter()
        .fold(query, |query, arg| match arg {
            Arg::Int(number) => query.bind(number),
            Arg::MaybeInt(number) => query.bind(number),
            Arg::Hash(bytes) => query.bind(bytes.as_slice()),
            Arg::Holder(holder) => query.bind(holder.as_slice()),
            Arg::Text(text) => query.bind(text),
        })
}

impl Columns for MySqlRow {
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
