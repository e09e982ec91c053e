//! A MariaDB of its own for the bench.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bench::running::{Running, free_address};
use crate::{setup, shell};

/// A database server over a directory.
#[derive(Debug)]
pub(super) struct MariaDb {
    address: SocketAddr,
    socket: PathBuf,
    running: Running,
}

const START: Duration = Duration::from_mins(2);
const NAME: &str = "piccolo";

impl MariaDb {
    /// Starts one whose files are in `directory`, and makes them where there are none.
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let data = directory.join("mariadb");
        let datadir = format!("--datadir={}", data.display());
        let user: &[&str] = if setup::is_root() {
            &["--user=root"]
        } else {
            &[]
        };
        let is_new = !data.exists();
        if is_new {
            let mut install = Command::new("mariadb-install-db");
            install.args(["--no-defaults", "--skip-test-db", &datadir]);
            install
                .args(["--auth-root-authentication-method=normal"])
                .args(user);
            shell::output(&mut install)?;
        }
        let address = free_address()?;
        let socket = data.join("socket");
        let mut command = Command::new("mariadbd");
        command
            .env("PATH", path())
            .args([
                "--no-defaults",
                &datadir,
                "--bind-address=127.0.0.1",
                "--skip-log-bin",
            ])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--socket={}", socket.display()))
            .args(["--innodb-buffer-pool-size=4G", "--innodb-log-file-size=1G"])
            .args(["--max-connections=200"])
            .args(user);
        let mut running = Running::start("mariadb", directory, &mut command)?;
        let client = || client(&socket);
        running.wait_ready(START, || {
            let mut ask = client();
            let asked = ask.args(["--execute", "SELECT 1"]).output();
            asked.is_ok_and(|output| output.status.success())
        })?;
        if is_new {
            let sql = format!(
                "CREATE DATABASE {NAME}; CREATE USER {NAME}@'127.0.0.1' IDENTIFIED BY '{NAME}'; \
                 CREATE USER {NAME}@'localhost' IDENTIFIED BY '{NAME}'; \
                 GRANT ALL ON {NAME}.* TO {NAME}@'127.0.0.1'; \
                 GRANT ALL ON {NAME}.* TO {NAME}@'localhost';"
            );
            shell::output(client().args(["--execute", &sql]))?;
        }
        Ok(Self {
            address,
            socket,
            running,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("mysql://{NAME}:{NAME}@{}/{NAME}", self.address)
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A client that takes statements from its standard input.
    pub(super) fn client(&self) -> Command {
        let mut client = client(&self.socket);
        client.args(["--database", NAME]);
        client
    }

    /// Where the tables' files are.
    pub(super) fn tables(directory: &Path) -> PathBuf {
        directory.join("mariadb").join(NAME)
    }
}

fn client(socket: &Path) -> Command {
    let mut client = Command::new("mariadb");
    client
        .args([
            "--no-defaults",
            "--user=root",
            "--batch",
            "--max-allowed-packet=64M",
        ])
        .arg(format!("--socket={}", socket.display()));
    client
}

/// With the directories of system programs, which a person's shell may leave out.
#[expect(
    clippy::disallowed_methods,
    reason = "what the shell hands down is handed on"
)]
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
