//! MySQL, MariaDB, and what speaks their protocol.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{Stream, TryStreamExt as _};
use sqlx::{
    AssertSqlSafe, Executor as _, MySql as Db, MySqlPool, Row as _, Transaction,
    migrate::{MigrateError, Migrator},
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlPoolOptions, MySqlRow},
    query::Query,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::store::{
    Connections,
    engine::{Columns, Dialect, Engine, InOne, Map, Work},
    health::Health,
    statement::{Arg, Sql, Statement},
    timing::timed,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mysql");

/// A MySQL or MariaDB server, and replicas of it that answer finds.
#[derive(Debug)]
pub(crate) struct MySql {
    primary: Link,
    /// For transactions: a flood of finds keeps none from its connection.
    work: Link,
    replicas: Vec<Link>,
    turn: AtomicUsize,
}

/// Connections to one server, and whether it answers.
#[derive(Debug)]
struct Link {
    options: MySqlConnectOptions,
    connections: u32,
    /// Is replaced whenever the server failed: see [`Link::pool`].
    pool: RwLock<MySqlPool>,
    /// One for each connection. Waiting for one of these says that there is much to do; waiting for
    /// the pool, that the server is away.
    turns: Arc<Semaphore>,
    health: Arc<Health>,
    /// The server's failures before the pool was made.
    failures: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct MySqlWork {
    transaction: Transaction<'static, Db>,
    health: Arc<Health>,
    _turn: OwnedSemaphorePermit,
}

/// Connections for transactions.
const WORK: u32 = 4;
/// Longest wait for one's turn.
const TURN: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for an answer, or for the next row of a long one.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest wait for a write, which may have to wait for another one's locks.
const WRITE: Duration = Duration::from_secs(10);

impl MySql {
    /// Connects when it is first used, and again whenever a connection is lost.
    pub(crate) fn new(
        primary: MySqlConnectOptions,
        replicas: Vec<MySqlConnectOptions>,
        connections: u32,
    ) -> Self {
        let health = Arc::<Health>::default();
        let replica = |replica| Link::new(replica, connections, Arc::default());
        Self {
            work: Link::new(primary.clone(), WORK, Arc::clone(&health)),
            primary: Link::new(primary, connections, health),
            replicas: replicas.into_iter().map(replica).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The replicas take turns; those that are away are left out.
    fn replica(&self) -> Option<&Link> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let (before, from) = self
            .replicas
            .split_at(turn.checked_rem(self.replicas.len())?);
        from.iter()
            .chain(before)
            .find(|link| !link.health.is_away())
    }
}

impl Link {
    fn new(options: MySqlConnectOptions, connections: u32, health: Arc<Health>) -> Self {
        let options = options.statement_cache_capacity(256);
        Self {
            pool: RwLock::new(pool(&options, connections)),
            options,
            connections,
            turns: Arc::new(Semaphore::new(
                usize::try_from(connections).unwrap_or(usize::MAX),
            )),
            health,
            failures: AtomicU64::new(0),
        }
    }

    /// The pool, or a new one after a failure. Connections from before may be dead, or lead to a
    /// server that is not the primary any more. And the pool asks each connection that is given back
    /// for a sign of life, which it awaits for as long as the kernel does: after the network lost
    /// them without a word their places stay taken for many minutes.
    fn pool(&self) -> MySqlPool {
        let failures = self.health.failures();
        if self.failures.swap(failures, Relaxed) != failures {
            let new = pool(&self.options, self.connections);
            *self.pool.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
        let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner);
        pool.clone()
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(TURN, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    async fn rows<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let _turn = self.turn().await?;
        match self.rows_once(statement.clone(), map).await {
            Err(error) if is_broken(&error) => {
                self.reconnect();
                self.rows_once(statement, map).await
            }
            done => done,
        }
    }

    async fn rows_once<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let connection = Box::pin(self.pool().acquire());
        let mut connection = self.health.guarded(CONNECT, connection).await?;
        let verb = statement.verb();
        let rows = query(statement).fetch(&mut *connection);
        timed(verb, all(&self.health, rows, map)).await
    }

    async fn begin(&self) -> Result<Transaction<'static, Db>, sqlx::Error> {
        let begin = || {
            let pool = self.pool();
            Box::pin(async move { timed("begin", pool.begin()).await })
        };
        match self.health.guarded(CONNECT + ANSWER, begin()).await {
            Err(error) if is_broken(&error) => {
                self.reconnect();
                self.health.guarded(CONNECT + ANSWER, begin()).await
            }
            done => done,
        }
    }

    /// Where a connection has turned out to be cut, the server was started anew and the others are
    /// cut as well. The next one shows whether it is there.
    fn reconnect(&self) {
        self.health.forget();
    }
}

fn pool(options: &MySqlConnectOptions, connections: u32) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT)
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
                // Shorter than what an answer may take: a row that somebody holds is another
                // thing than a server that is away.
                connection
                    .execute("SET SESSION innodb_lock_wait_timeout = 3")
                    .await?;
                connection
                    .execute("SET SESSION group_concat_max_len = 1048576")
                    .await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone())
}

/// Whether the connection was cut, rather than nobody there or nobody answering.
fn is_broken(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let cut = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    matches!(error, sqlx::Error::Io(error) if cut.contains(&error.kind()))
}

/// All rows, as long as some of them come within [`ANSWER`].
async fn all<T>(
    health: &Health,
    mut rows: impl Stream<Item = Result<MySqlRow, sqlx::Error>> + Unpin,
    map: Map<T>,
) -> Result<Vec<T>, sqlx::Error> {
    const SOME: usize = 1024;
    let mut all = Vec::new();
    loop {
        let some = async {
            let end = all.len() + SOME;
            while all.len() < end {
                match rows.try_next().await? {
                    Some(row) => all.push(map(&row)?),
                    None => return Ok(true),
                }
            }
            Ok(false)
        };
        if health.waited(ANSWER, some).await? {
            return Ok(all);
        }
    }
}

impl Engine for MySql {
    type Work = MySqlWork;

    const LANES: usize = 2;

    const DIALECT: Dialect = Dialect {
        insert_ignore: "INSERT IGNORE",
        keys_in_one: "GROUP_CONCAT(key_hash SEPARATOR '')",
        unsorted: " ORDER BY NULL",
        holders_in_one: InOne {
            before: "SELECT COALESCE(GROUP_CONCAT(holder SEPARATOR ''), '') FROM (",
            after: ") AS page",
            from: 1024,
        },
        by_node: " FORCE INDEX (holding_by_holder)",
        for_update: " FOR UPDATE",
        on_known_node: " ON DUPLICATE KEY UPDATE",
        inserted: ("VALUES(", ")"),
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
        self.primary.rows(statement, map).await
    }

    async fn old_rows<T: Send>(
        &self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        if let Some(replica) = self.replica() {
            match replica.rows(statement.clone(), map).await {
                Err(error) => debug!(%error, "a replica did not answer; the primary is asked"),
                found => return found,
            }
        }
        self.primary.rows(statement, map).await
    }

    fn lags(&self) -> bool {
        !self.replicas.is_empty()
    }

    async fn begin(&self) -> Result<MySqlWork, sqlx::Error> {
        let turn = self.work.turn().await?;
        let health = Arc::clone(&self.work.health);
        let transaction = self.work.begin().await?;
        Ok(MySqlWork {
            transaction,
            health,
            _turn: turn,
        })
    }

    fn connections(&self) -> Connections {
        let links = self.replicas.iter().chain([&self.primary, &self.work]);
        let pools: Vec<_> = links.map(Link::pool).collect();
        Connections::of(&pools)
    }

    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        // To MariaDB, the migrator's own lock is none: it waits for less than no time.
        let pool = self.primary.pool();
        let mut connection = pool.acquire().await?;
        let lock = "SELECT GET_LOCK(CONCAT('piccolo-', MD5(DATABASE())), 60) = 1";
        if !sqlx::query_scalar(lock).fetch_one(&mut *connection).await? {
            return Err(MigrateError::Execute(sqlx::Error::PoolTimedOut));
        }
        let done = MIGRATIONS.run(&pool).await;
        let unlock = "SELECT RELEASE_LOCK(CONCAT('piccolo-', MD5(DATABASE())))";
        sqlx::query(unlock).execute(&mut *connection).await?;
        done
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        // A deadlock, and a lock that was waited for too long.
        error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
            .is_some_and(|e| matches!(e.number(), 1213 | 1205))
    }

    fn is_no_table(error: &sqlx::Error) -> bool {
        error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
            .is_some_and(|e| e.number() == 1146)
    }
}

impl Work for MySqlWork {
    async fn rows<T: Send>(
        &mut self,
        statement: Statement,
        map: Map<T>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let verb = statement.verb();
        let rows = query(statement).fetch(&mut *self.transaction);
        timed(verb, all(&self.health, rows, map)).await
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        let verb = statement.verb();
        let execute = query(statement).execute(&mut *self.transaction);
        let done = timed(verb, self.health.waited(WRITE, execute)).await?;
        Ok(done.rows_affected())
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        timed(
            "commit",
            self.health.waited(WRITE, self.transaction.commit()),
        )
        .await
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
