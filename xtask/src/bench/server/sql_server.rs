//! A MariaDB or MySQL of its own for the bench.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use testbed::Product;

use crate::bench::running::{Running, free_address};
use crate::{setup, shell};

/// A database server over a directory.
#[derive(Debug)]
pub(super) struct SqlServer {
    product: Product,
    address: SocketAddr,
    socket: PathBuf,
    running: Running,
}

const START: Duration = Duration::from_mins(2);
const NAME: &str = "piccolo";
const DATA: &str = "data";

impl SqlServer {
    /// Starts one whose files are in `directory`, and makes them where there are none.
    pub(super) fn start(directory: &Path, product: Product) -> Result<Self> {
        product.check()?;
        let data = directory.join(DATA);
        let datadir = format!("--datadir={}", data.display());
        let user: &[&str] = if setup::is_root() {
            &["--user=root"]
        } else {
            &[]
        };
        let is_new = !data.exists();
        if is_new {
            product.install(&data)?;
        }
        let address = free_address()?;
        let socket = data.join("socket");
        let log_size = match product {
            Product::MariaDb => "--innodb-log-file-size=1G",
            Product::MySql(_) => "--innodb-redo-log-capacity=1G",
        };
        let mut command = Command::new(product.program());
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
            .args(product.settings())
            .args(["--innodb-buffer-pool-size=4G", log_size])
            .args(["--max-connections=200"])
            .args(user);
        let mut running = Running::start("database", directory, &mut command)?;
        let client = || client(&product, &socket);
        running.wait_ready(START, || {
            let mut ask = client();
            let asked = ask.args(["--execute", "SELECT 1"]).output();
            asked.is_ok_and(|output| output.status.success())
        })?;
        if is_new {
            let sql = format!(
                "CREATE DATABASE {NAME}; CREATE USER {NAME}@'127.0.0.1' IDENTIFIED BY ''; \
                 CREATE USER {NAME}@'localhost' IDENTIFIED BY ''; \
                 GRANT ALL ON {NAME}.* TO {NAME}@'127.0.0.1'; \
                 GRANT ALL ON {NAME}.* TO {NAME}@'localhost';"
            );
            shell::output(client().args(["--execute", &sql]))?;
        }
        Ok(Self {
            product,
            address,
            socket,
            running,
        })
    }

    pub(super) fn url(&self) -> String {
        // Without TLS, which MySQL has as it is installed and MariaDB has not before 11.4.
        format!("mysql://{NAME}@{}/{NAME}?ssl-mode=DISABLED", self.address)
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A client that takes statements from its standard input.
    pub(super) fn client(&self) -> Command {
        let mut client = client(&self.product, &self.socket);
        client.args(["--database", NAME]);
        client
    }

    /// Where the tables' files are.
    pub(super) fn tables(directory: &Path) -> PathBuf {
        directory.join(DATA).join(NAME)
    }
}

fn client(product: &Product, socket: &Path) -> Command {
    let mut client = Command::new(product.client());
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
