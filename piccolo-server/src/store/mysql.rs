//! MySQL, MariaDB, and what speaks their protocol.

mod link;
mod migration;
mod session;
mod turn;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, MySql as Db, Transaction,
    migrate::{MigrateError, Migrator},
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlDatabaseError},
    query::Query,
};
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use self::link::{Link, all};
use crate::store::{
    Connections,
    engine::{Dialect, Engine, InOne, Map, Work},
    error::{Cause, cause},
    health::Health,
    statement::{Arg, Sql, Statement},
    timing::timed,
};

/// Statements beside the store's own.
#[cfg(test)]
pub(super) fn beside_statements() -> Vec<&'static str> {
    let locks = [session::LOCK, session::UNLOCK];
    [&session::SET_UP[..], &locks, &turn::STATEMENTS].concat()
}

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

#[derive(Debug)]
pub(crate) struct MySqlWork {
    transaction: Transaction<'static, Db>,
    health: Arc<Health>,
    _turn: OwnedSemaphorePermit,
}

/// Connections for transactions.
const WORK: u32 = 4;
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
        migration::run(&MIGRATIONS, &self.primary).await
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        cause(error) == Cause::Conflict
    }

    fn is_no_table(error: &sqlx::Error) -> bool {
        error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<MySqlDatabaseError>())
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
