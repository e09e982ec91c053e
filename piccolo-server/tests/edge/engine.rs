//! The databases that every test of the server runs over.

use std::process::Command;

use tempfile::TempDir;
use testbed::{Product, SqlServer};

use crate::server::Server;

/// Makes one test for each engine out of each function that takes an [`Engine`]; of those after
/// `servers:` only for the engines that are servers of their own. MySQL is one where it is given. The
/// server has threads of its own: a test that waits for a database's shell would otherwise keep the
/// server from ending the transaction that the shell waits for.
macro_rules! on_engines {
    (all: $($all:ident),+ $(,)?) => {
        $crate::engine::on_engines!(all: $($all),+; servers:);
    };
    (servers: $($server:ident),+ $(,)?) => {
        $crate::engine::on_engines!(all:; servers: $($server),+);
    };
    (all: $($all:ident),* $(,)?; servers: $($server:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $all() {
                    super::$all($crate::engine::Engine::Sqlite).await;
                }
            )*
        }
        mod mariadb {
            $crate::engine::on_engines!(tests MariaDb: $($all,)* $($server,)*);
        }
        mod mysql {
            $crate::engine::on_engines!(tests MySql: $($all,)* $($server,)*);
        }
    };
    (tests $engine:ident: $($test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let engine = $crate::engine::Engine::$engine;
                if engine.is_there() {
                    super::$test(engine).await;
                }
            }
        )*
    };
}
pub(crate) use on_engines;

/// A kind of database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine {
    Sqlite,
    MariaDb,
    MySql,
}

/// A database; dropping it removes it.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(TempDir),
    Server(SqlServer),
}

impl Engine {
    /// Whether there is one to run over. Says so where there is none.
    #[expect(clippy::print_stderr, reason = "for the reader of the tests' output")]
    pub(crate) fn is_there(self) -> bool {
        let mysql = match self {
            Self::Sqlite | Self::MariaDb => return true,
            Self::MySql => Product::mysql(),
        };
        match &mysql {
            Some(mysql) => mysql.check().expect("the programs of MySQL"),
            None => eprintln!(
                "NOT RUN, for want of a MySQL: PICCOLO_TEST_MYSQL=DIR names one with DIR/bin/mysqld"
            ),
        }
        mysql.is_some()
    }

    /// An empty database.
    pub(crate) fn database(self) -> Database {
        match self {
            Self::Sqlite => Database::Sqlite(tempfile::tempdir().expect("a directory")),
            Self::MariaDb | Self::MySql => Database::Server(self.server().0),
        }
    }

    /// A database server with an empty database, and the database's URL.
    pub(crate) fn server(self) -> (SqlServer, String) {
        let server = SqlServer::start(self.product()).expect("the database server starts");
        let url = server.create("piccolo").expect("a database");
        (server, url)
    }

    /// What its servers are.
    pub(crate) fn product(self) -> Product {
        match self {
            Self::Sqlite => panic!("SQLite is no server"),
            Self::MariaDb => Product::MariaDb,
            Self::MySql => Product::mysql().expect("a MySQL"),
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
            Self::Server(server) => server.url("piccolo"),
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
            Self::Server(server) => {
                let sql = format!("USE piccolo; {sql}");
                server.execute(&sql).expect("an answer")
            }
        }
    }
}
