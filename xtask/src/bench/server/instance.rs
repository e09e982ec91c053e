//! A server under test.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::Database;
use crate::bench::process;
use crate::bench::running::{Running, answers, free_address};
use crate::shell;

/// A piccolo-server, answering.
#[derive(Debug)]
pub(in crate::bench) struct Instance {
    pub(in crate::bench) api: SocketAddr,
    pub(in crate::bench) admin: SocketAddr,
    running: Running,
}

const START: Duration = Duration::from_mins(2);

impl Instance {
    /// Starts one on a database. Its nodes live for a day without a word, as the loads ask for more
    /// than they say.
    pub(in crate::bench) fn start(
        program: &Path,
        database: &Database,
        name: &'static str,
        more: &[&str],
    ) -> Result<Self> {
        let (api, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        command
            .args([
                "serve",
                "--listen",
                &api.to_string(),
                "--admin-listen",
                &admin.to_string(),
            ])
            .args(["--database", &database.url(), "--node-timeout", "24h"])
            // All of them are from this host.
            .args(["--connections-per-address", "65536"])
            .args(["--nodes-per-address", "1000000"])
            .args(["--keys-per-address", "1000000000"])
            .args(more);
        let mut running = Running::start(name, database.directory(), &mut command)?;
        running.wait_ready(START, || answers(api, "/healthz"))?;
        Ok(Self {
            api,
            admin,
            running,
        })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Processor time so far.
    pub(in crate::bench) fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid())
    }
}

/// Whether the server has a flag.
pub(super) fn knows(program: &Path, flag: &str) -> Result<bool> {
    let help = shell::output(Command::new(program).args(["serve", "--help"]))?;
    Ok(help.contains(flag))
}
