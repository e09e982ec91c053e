//! Which database server: MariaDB as it is installed, or a MySQL in a directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::exec::run;
use crate::rights::is_root;

/// Names the directory of a MySQL: its programs are `mysqld` and `mysql` in `bin` there.
const MYSQL: &str = "PICCOLO_TEST_MYSQL";

/// A database server's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Product {
    /// The one that is installed.
    MariaDb,
    /// The one in this directory.
    MySql(PathBuf),
}

impl Product {
    /// The MySQL that `PICCOLO_TEST_MYSQL` names; none where it names none.
    #[expect(
        clippy::disallowed_methods,
        reason = "which database the tests run over is told to them by the environment alone"
    )]
    pub fn mysql() -> Option<Self> {
        let directory = std::env::var_os(MYSQL)?;
        Some(Self::MySql(directory.into()))
    }

    /// Whether programs that a test needs are there.
    ///
    /// # Errors
    ///
    /// When one is not.
    pub fn check(&self) -> Result<()> {
        if let Self::MySql(directory) = self {
            for program in [self.program(), self.client()] {
                ensure!(
                    program.is_file(),
                    "{} has no {}: name the directory of a MySQL",
                    directory.display(),
                    program.display()
                );
            }
        }
        Ok(())
    }

    /// The server.
    pub fn program(&self) -> PathBuf {
        match self {
            Self::MariaDb => "mariadbd".into(),
            Self::MySql(directory) => directory.join("bin/mysqld"),
        }
    }

    /// The client.
    pub fn client(&self) -> PathBuf {
        match self {
            Self::MariaDb => "mariadb".into(),
            Self::MySql(directory) => directory.join("bin/mysql"),
        }
    }

    /// Settings that every server of it has.
    pub fn settings(&self) -> Vec<String> {
        match self {
            Self::MariaDb => Vec::new(),
            // Its second protocol wants a port and a socket, and its log of changes time.
            Self::MySql(_) => ["--mysqlx=OFF", "--skip-log-bin"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    /// What data that was made for it may be called, other than that of other versions.
    pub(super) fn template(&self) -> Result<String> {
        if *self == Self::MariaDb {
            return Ok("mariadb-data".to_owned());
        }
        let version = run(Command::new(self.program()).arg("--version"))?;
        let number = version.split("Ver ").nth(1).unwrap_or_default();
        let number = number.split_whitespace().next().unwrap_or_default();
        let is_version = |number: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
            !number.is_empty() && number.chars().all(known)
        };
        ensure!(is_version(number), "{version:?} names no version");
        Ok(format!("mysql-{number}-data"))
    }

    /// Makes the system tables, which takes longer than all else, with a root that has no password.
    /// Temporary tables have a directory of their own: a server removes those of others when it starts.
    ///
    /// # Errors
    ///
    /// When it is not installed or refuses.
    pub fn install(&self, data: &Path) -> Result<()> {
        let datadir = format!("--datadir={}", data.display());
        let mut command = match self {
            Self::MariaDb => {
                let mut command = Command::new("mariadb-install-db");
                command
                    .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                    .args(["--skip-test-db", "--skip-name-resolve"])
                    .args(["--innodb-log-file-size=16M"]);
                command
            }
            Self::MySql(_) => {
                let script = data.with_extension("sql");
                std::fs::write(&script, ROOT).context("writing what makes the root user")?;
                let mut command = Command::new(self.program());
                command
                    .args(["--no-defaults", "--initialize-insecure"])
                    .arg(format!("--init-file={}", script.display()));
                command
            }
        };
        let scratch = data.with_extension("tmp");
        std::fs::create_dir_all(&scratch).context("making a directory for temporary tables")?;
        command.arg(datadir).env("TMPDIR", scratch);
        if is_root() {
            command.arg("--user=root");
        }
        run(&mut command)?;
        // Two servers of one identity do not follow each other.
        match std::fs::remove_file(data.join("auto.cnf")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing a server's identity")
            }
            _ => Ok(()),
        }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql(_) => "MySQL",
        }
    }

    /// Names a command the directory of a MySQL, which [`mysql`](Self::mysql) gives then.
    pub fn tell_mysql(command: &mut Command, directory: &Path) {
        command.env(MYSQL, directory);
    }
}

/// Names are not resolved, and so nobody comes from localhost through the network.
const ROOT: &str = "CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";
