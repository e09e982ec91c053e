//! The database under the server under test: made, filled, measured.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use measure::{Dataset, Dialect, RowsPlan, Task};
use testbed::Product;

use super::{now, sql_server::SqlServer};
use crate::bench::process;
use crate::bench::programs::Measure;
use crate::shell::{self, say};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::bench) enum Engine {
    /// A file.
    Sqlite,
    /// The MariaDB that is installed, started for the bench with a pool of 4 GiB.
    Mariadb,
    /// The same with the MySQL of `--mysql`.
    Mysql,
}

impl Engine {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        }
    }
}

/// A filled database in a directory, which is removed at the end unless it is to be kept.
#[derive(Debug)]
pub(in crate::bench) struct Database {
    directory: PathBuf,
    keep: bool,
    engine: Engine,
    sql_server: Option<SqlServer>,
}

/// What a database is filled with, and by what.
#[derive(Debug)]
pub(super) struct Filling<'a> {
    pub(super) engine: Engine,
    /// Where MySQL is.
    pub(super) mysql: Option<&'a Path>,
    pub(super) dataset: &'a Dataset,
    pub(super) measure: &'a Measure,
    /// The program that makes the tables.
    pub(super) server: &'a Path,
}

/// Says what the directory is for: what it is filled with, once it is.
const MARKER: &str = "piccolo-bench";
const HALF: &str = "not filled to its end";

impl Database {
    /// Makes one that is removed at the end. What an interrupted bench left there goes.
    pub(super) fn temporary(directory: &Path, filling: &Filling<'_>) -> Result<Self> {
        clear(directory)?;
        let database = Self::start(directory, false, filling)?;
        database.fill(filling)?;
        Ok(database)
    }

    /// Opens the one in the directory, or makes it there, and leaves it there at the end.
    pub(super) fn keep(directory: &Path, filling: &Filling<'_>) -> Result<Self> {
        let Dataset { nodes, keys } = filling.dataset;
        let wanted = format!("{:?}, {nodes} nodes, {keys} keys each", filling.engine);
        let found = fs::read_to_string(directory.join(MARKER)).unwrap_or_default();
        if found != wanted {
            ensure!(
                found.is_empty() || found == HALF,
                "{} holds another database ({found}): name another directory, or remove it",
                directory.display()
            );
            clear(directory)?;
        }
        let database = Self::start(directory, true, filling)?;
        if found == wanted {
            // No process sent keepalives for the nodes meanwhile.
            database.sql(&format!("UPDATE node SET seen = {};", millis()?))?;
        } else {
            database.fill(filling)?;
            fs::write(directory.join(MARKER), wanted).context("marking the database as filled")?;
        }
        Ok(database)
    }

    fn start(directory: &Path, keep: bool, filling: &Filling<'_>) -> Result<Self> {
        let directory = directory.canonicalize().context("naming the directory")?;
        let product = match filling.engine {
            Engine::Sqlite => None,
            Engine::Mariadb => Some(Product::MariaDb),
            Engine::Mysql => {
                let mysql = filling.mysql.context("--engine mysql needs --mysql DIR")?;
                Some(Product::MySql(mysql.to_owned()))
            }
        };
        let start = |product| SqlServer::start(&directory, product);
        let sql_server = product.map(start).transpose()?;
        Ok(Self {
            directory,
            keep,
            engine: filling.engine,
            sql_server,
        })
    }

    /// Makes the tables with the server's own migrations, and writes the rows past it.
    fn fill(&self, filling: &Filling<'_>) -> Result<()> {
        let mut migrate = Command::new(filling.server);
        shell::run(migrate.args(["migrate", "--log", "warn", "--database", &self.url()]))?;
        let Dataset { nodes, keys } = filling.dataset;
        say(&format!("writing {keys} keys of each of {nodes} nodes ..."));
        let plan = RowsPlan {
            dataset: filling.dataset.clone(),
            dialect: self
                .sql_server
                .as_ref()
                .map_or(Dialect::Sqlite, |_| Dialect::MySql),
            seen: millis()?,
        };
        let mut rows = filling
            .measure
            .command(&Task::Rows(plan))?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting to write rows")?;
        let sql = rows.stdout.take().context("the rows' output")?;
        let mut client = self.client();
        let status = client
            .stdin(sql)
            .status()
            .context("starting the database's client")?;
        let written = rows.wait().context("waiting for the rows")?;
        ensure!(
            status.success() && written.success(),
            "the rows could not be loaded"
        );
        Ok(())
    }

    fn sql(&self, sql: &str) -> Result<()> {
        let mut client = self.client();
        let mut running = client
            .stdin(Stdio::piped())
            .spawn()
            .context("starting the client")?;
        let mut input = running.stdin.take().context("the client's input")?;
        input
            .write_all(sql.as_bytes())
            .context("telling the client")?;
        drop(input);
        let status = running.wait().context("waiting for the client")?;
        ensure!(status.success(), "the database refused `{sql}`");
        Ok(())
    }

    fn client(&self) -> Command {
        if let Some(server) = &self.sql_server {
            return server.client();
        }
        let mut client = Command::new("sqlite3");
        client
            .args(["-batch", "-bail"])
            .arg(self.file())
            .stdout(Stdio::null());
        client
    }

    fn file(&self) -> PathBuf {
        self.directory.join("bench.sqlite")
    }

    pub(super) fn url(&self) -> String {
        match &self.sql_server {
            Some(server) => server.url(),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Processor time of the database's own process; none where it lives in the server's.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.pid().map_or(Ok(Duration::ZERO), process::cpu)
    }

    /// Its own process, where it has one.
    pub(in crate::bench) fn pid(&self) -> Option<u32> {
        self.sql_server.as_ref().map(SqlServer::pid)
    }

    /// Bytes of the tables' files.
    pub(super) fn bytes(&self) -> Result<u64> {
        let directory = match self.sql_server {
            Some(_) => SqlServer::tables(&self.directory),
            None => self.directory.clone(),
        };
        let mut bytes = 0;
        for entry in fs::read_dir(&directory).context("listing the database's files")? {
            let entry = entry.context("listing the database's files")?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".ibd") || name.starts_with("bench.sqlite") {
                bytes += entry.metadata().context("asking for a file's size")?.len();
            }
        }
        Ok(bytes)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server has to be gone before its files are.
        self.sql_server = None;
        if !self.keep {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Empties a directory that a bench made, or makes one; never touches one that is anything else.
fn clear(directory: &Path) -> Result<()> {
    let named = || format!("{}", directory.display());
    if directory.exists() {
        let mut files = fs::read_dir(directory).with_context(named)?;
        ensure!(
            files.next().is_none() || directory.join(MARKER).exists(),
            "{} holds something else than a bench's database: name a new directory",
            directory.display()
        );
        fs::remove_dir_all(directory).with_context(named)?;
    }
    fs::create_dir_all(directory).with_context(named)?;
    fs::write(directory.join(MARKER), HALF).with_context(named)
}

/// Milliseconds since the Unix epoch.
fn millis() -> Result<i64> {
    Ok(i64::try_from(now()?)? * 1000)
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.engine {
            Engine::Sqlite => "SQLite",
            Engine::Mariadb => "MariaDB",
            Engine::Mysql => "MySQL",
        })
    }
}
