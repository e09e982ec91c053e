//! Connections to one server, and whether it answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{Stream, TryStreamExt as _};
use log::LevelFilter;
use parking_lot::RwLock;
use sqlx::{
    ConnectOptions as _, Executor as _, MySql as Db, MySqlPool, Transaction,
    mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlRow},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{query, session};
use crate::store::{
    engine::Map,
    error::{Cause, cause},
    health::Health,
    statement::Statement,
    timing::timed,
};

/// Connections to one server, and whether it answers.
#[derive(Debug)]
pub(super) struct Link {
    options: MySqlConnectOptions,
    connections: u32,
    /// Is replaced whenever the server failed: see [`Link::pool`].
    pool: RwLock<MySqlPool>,
    /// One for each connection. Waiting for one of these says that there is much to do; waiting for
    /// the pool, that the server is away.
    turns: Arc<Semaphore>,
    pub(super) health: Arc<Health>,
    /// The server's failures before the pool was made.
    failures: AtomicU64,
}

/// Longest wait for a turn.
const MAX_TURN_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const MAX_CONNECT_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for an answer, or for the next row of a long one.
const MAX_ANSWER_WAIT: Duration = Duration::from_secs(5);

impl Link {
    pub(super) fn new(options: MySqlConnectOptions, connections: u32, health: Arc<Health>) -> Self {
        // How long statements take is measured, and under load many are slow.
        let options = options
            .statement_cache_capacity(256)
            .log_slow_statements(LevelFilter::Debug, MAX_ANSWER_WAIT);
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
    /// server that is not the primary any more. And the pool asks each connection that is given
    /// back for a keepalive, which it awaits for as long as the kernel does: after the network lost
    /// them without a word their places stay taken for many minutes.
    pub(super) fn pool(&self) -> MySqlPool {
        let failures = self.health.failures();
        if self.failures.swap(failures, Relaxed) != failures {
            let new = pool(&self.options, self.connections);
            *self.pool.write() = new;
        }
        self.pool.read().clone()
    }

    /// Connections apart from those that finds and changes share.
    pub(super) fn apart(&self, connections: u32) -> MySqlPool {
        pool(&self.options, connections)
    }

    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(MAX_TURN_WAIT, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    pub(super) async fn rows<T: Send>(
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
        let mut connection = self.health.guarded(MAX_CONNECT_WAIT, connection).await?;
        let verb = statement.verb();
        let rows = query(statement).fetch(&mut *connection);
        timed(verb, all(&self.health, rows, map)).await
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Db>, sqlx::Error> {
        let begin = || {
            let pool = self.pool();
            Box::pin(async move { timed("begin", pool.begin()).await })
        };
        match self
            .health
            .guarded(MAX_CONNECT_WAIT + MAX_ANSWER_WAIT, begin())
            .await
        {
            Err(error) if is_broken(&error) => {
                self.reconnect();
                self.health
                    .guarded(MAX_CONNECT_WAIT + MAX_ANSWER_WAIT, begin())
                    .await
            }
            done => done,
        }
    }

    /// If one connection is cut, the server was restarted and the others are cut as well. A new one
    /// shows whether the server answers.
    fn reconnect(&self) {
        self.health.forget();
    }
}

fn pool(options: &MySqlConnectOptions, connections: u32) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(MAX_CONNECT_WAIT)
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(Duration::from_hours(1))
        .test_before_acquire(false)
        .acquire_slow_level(LevelFilter::Debug)
        .after_connect(|connection, _| {
            Box::pin(async move {
                for statement in session::SET_UP {
                    connection.execute(statement).await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options.clone())
}

/// Whether the connection was cut or closed, rather than refused or unanswered.
fn is_broken(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let cut = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    matches!(error, sqlx::Error::Io(error) if cut.contains(&error.kind()))
        || cause(error) == Cause::Closed
}

/// All rows, as long as some of them come within [`MAX_ANSWER_WAIT`].
pub(super) async fn all<T>(
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
        if health.waited(MAX_ANSWER_WAIT, some).await? {
            return Ok(all);
        }
    }
}
