//! The databases that every test of the server runs over.

use std::process::Command;

use tempfile::TempDir;
use testbed::MariaDb;

use crate::server::Server;

/// Makes one test for each engine out of each function that takes an [`Engine`]. The server has threads
/// of its own: a test that waits for a database's shell would otherwise keep the server from ending
/// the transaction that the shell waits for.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::engine::Engine::Sqlite).await;
                }
            )+
        }
        mod mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::engine::Engine::MariaDb).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_engines;

/// A kind of database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine {
    Sqlite,
    MariaDb,
}

/// A database; dropping it removes it.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(TempDir),
    MariaDb(MariaDb),
}

impl Engine {
    /// An empty database.
    pub(crate) fn database(self) -> Database {
        match self {
            Self::Sqlite => Database::Sqlite(tempfile::tempdir().expect("a directory")),
            Self::MariaDb => {
                let server = MariaDb::start().expect("MariaDB starts");
                server.create("piccolo").expect("a database");
                Database::MariaDb(server)
            }
        }
    }

    /// A server over an empty database, which lives as long as the second value.
    pub(crate) async fn fresh(self) -> (Server, Database) {
        let database = self.database();
        (
            Server::start(&["--database", &database.url()]).await,
            database,
        )
    }
}

impl Database {
    /// What `--database` takes.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => {
                format!("sqlite:{}", directory.path().join("db").display())
            }
            Self::MariaDb(server) => server.url("piccolo"),
        }
    }

    /// How many rows a table has.
    pub(crate) fn count(&self, table: &str) -> usize {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let count = self.query(&sql);
        count.trim().parse().expect("a number")
    }

    /// What a query answers, with tabs between columns, a line for each row.
    pub(crate) fn query(&self, sql: &str) -> String {
        match self {
            Self::Sqlite(directory) => {
                let output = Command::new("sqlite3")
                    .args(["-batch", "-separator", "\t", "-cmd", ".timeout 30000"])
                    .args([directory.path().join("db").as_os_str(), sql.as_ref()])
                    .output()
                    .expect("sqlite3 runs");
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).expect("text")
            }
            Self::MariaDb(server) => {
                let sql = format!("USE piccolo; {sql}");
                server.execute(&sql).expect("an answer")
            }
        }
    }
}
