//! The database under the server under test: made, filled, measured.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use measure::{Dataset, Dialect, RowsPlan, Task};

use super::mariadb::MariaDb;
use crate::bench::process;
use crate::bench::programs::Measure;
use crate::shell::{self, say};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::bench) enum Engine {
    /// A file.
    Sqlite,
    /// MariaDB, started for the bench with a pool of 4 GiB.
    Mysql,
}

/// A filled database in a directory, which is removed at the end unless it is to be kept.
#[derive(Debug)]
pub(in crate::bench) struct Database {
    directory: PathBuf,
    keep: bool,
    mariadb: Option<MariaDb>,
}

/// Holds the number of nodes of a database that was filled to the end.
const FILLED: &str = "filled";

impl Database {
    /// Opens the one in the directory; where there is none, or it is not to be kept, makes one and
    /// has it filled.
    pub(super) fn open(
        engine: Engine,
        directory: &Path,
        keep: bool,
        dataset: &Dataset,
        fill: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Self> {
        let marker = directory.join(FILLED);
        let wanted = format!("{engine:?} {}", dataset.nodes);
        let found = fs::read_to_string(&marker).ok();
        if !keep || found.is_none() {
            // What a bench left that was interrupted.
            let _ = fs::remove_dir_all(directory);
        }
        let is_filled = found.is_some() && keep;
        ensure!(
            !is_filled || found.as_ref() == Some(&wanted),
            "{} holds another database: {}; name another directory",
            directory.display(),
            found.unwrap_or_default()
        );
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let directory = directory.canonicalize().context("naming the directory")?;
        let mariadb = match engine {
            Engine::Sqlite => None,
            Engine::Mysql => Some(MariaDb::start(&directory)?),
        };
        let database = Self {
            directory,
            keep,
            mariadb,
        };
        if !is_filled {
            fill(&database)?;
            fs::write(&marker, wanted).context("marking the database as filled")?;
        }
        Ok(database)
    }

    /// Makes the tables with the server's own migrations, and writes the rows past it.
    pub(super) fn fill(&self, server: &Path, measure: &Measure, dataset: &Dataset) -> Result<()> {
        shell::run(Command::new(server).args([
            "migrate",
            "--log",
            "warn",
            "--database",
            &self.url(),
        ]))?;
        say(&format!("writing the keys of {} nodes ...", dataset.nodes));
        let now = shell::output(Command::new("date").arg("+%s"))?;
        let plan = RowsPlan {
            dataset: dataset.clone(),
            dialect: self
                .mariadb
                .as_ref()
                .map_or(Dialect::Sqlite, |_| Dialect::MySql),
            seen: now.trim().parse::<i64>().context("what date says")? * 1000,
        };
        let mut rows = measure
            .command(&Task::Rows(plan))?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting to write rows")?;
        let rows_out = rows.stdout.take().context("the rows' output")?;
        let mut client = self.client();
        let status = client
            .stdin(rows_out)
            .status()
            .context("starting the database's client")?;
        let written = rows.wait().context("waiting for the rows")?;
        ensure!(
            status.success() && written.success(),
            "the rows could not be loaded"
        );
        Ok(())
    }

    fn client(&self) -> Command {
        if let Some(mariadb) = &self.mariadb {
            return mariadb.client();
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
        match &self.mariadb {
            Some(mariadb) => mariadb.url(),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Processor time of the database's own process; none where it lives in the server's.
    pub(in crate::bench) fn cpu(&self) -> Result<Duration> {
        self.mariadb
            .as_ref()
            .map_or(Ok(Duration::ZERO), |mariadb| process::cpu(mariadb.pid()))
    }

    /// Bytes of the tables' files.
    pub(super) fn bytes(&self) -> Result<u64> {
        let directory = match self.mariadb {
            Some(_) => MariaDb::tables(&self.directory),
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
        self.mariadb = None;
        if !self.keep {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mariadb {
            Some(_) => "MariaDB",
            None => "SQLite",
        })
    }
}
