//! A running piccolo-server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::binaries::binary;
use crate::http::{Answer, get};
use crate::network::Host;
use crate::process::Process;
use crate::run::Run;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);
const API: u16 = 7789;
const ADMIN: u16 = 7790;

/// A piccolo-server over a database file in the run's directory. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    host: Host,
    process: Process,
}

impl Server {
    /// Starts one on a host and waits until it is ready. Its database outlives it, so a second
    /// start goes on where the first ended.
    ///
    /// # Errors
    ///
    /// When it has not been built or does not start.
    pub fn start(run: &Run, host: &Host, arguments: &[&str]) -> Result<Self> {
        Self::start_by(run, host, None, &[], arguments)
    }

    /// [`Server::start`] with a program of another build, behind what it takes to run that, and over a database
    /// by its URL where one is given.
    pub(crate) fn start_by(
        run: &Run,
        host: &Host,
        database: Option<&str>,
        command: &[PathBuf],
        arguments: &[&str],
    ) -> Result<Self> {
        let file = run.directory().join(format!("{}.sqlite", host.name));
        let file = format!("sqlite://{}", file.display());
        Self::launch(run, host, command, database.unwrap_or(&file), arguments)
    }

    /// [`Server::start`] over a database by its URL, which several may share.
    ///
    /// # Errors
    ///
    /// When it has not been built or does not start.
    pub fn start_over(run: &Run, host: &Host, database: &str, arguments: &[&str]) -> Result<Self> {
        Self::launch(run, host, &[], database, arguments)
    }

    fn launch(
        run: &Run,
        host: &Host,
        command: &[PathBuf],
        database: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let listen = SocketAddr::new(host.address, API).to_string();
        let admin = SocketAddr::new(host.address, ADMIN).to_string();
        let mut all = vec![
            "serve",
            "--listen",
            &listen,
            "--admin-listen",
            &admin,
            "--database",
            database,
        ];
        all.extend(arguments);
        let (program, before) = match command.split_first() {
            Some((program, before)) => (program.clone(), before),
            None => (binary("piccolo-server")?, &[][..]),
        };
        let before = before.iter().map(|path| path.as_os_str());
        let all = before.chain(all.iter().map(AsRef::as_ref));
        let process = Process::start(run, &host.netns, &host.name, &program, all)?;
        let mut server = Self {
            host: host.clone(),
            process,
        };
        let page = server.page("/readyz");
        server
            .process
            .wait_ready(START, || Ok(page.get()?.status == 200))?;
        Ok(server)
    }

    /// Where agents reach it.
    pub fn url(&self) -> String {
        Self::url_at(&self.host)
    }

    /// Where agents would reach one on this host.
    pub(crate) fn url_at(host: &Host) -> String {
        format!("http://{}", SocketAddr::new(host.address, API))
    }

    /// Asks its API.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn api(&self, target: &str) -> Result<Answer> {
        get(
            &self.host.netns,
            SocketAddr::new(self.host.address, API),
            target,
        )
    }

    /// Whether it knows of holders of a key in a group, and how many.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not as agreed.
    pub fn holders(&self, group: &str, key: &str) -> Result<usize> {
        Ok(self.names_of_holders(group, key)?.len())
    }

    /// Whom it names as holders of a key in a group.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not as agreed.
    pub fn names_of_holders(&self, group: &str, key: &str) -> Result<Vec<String>> {
        let target = format!("/api/v1/distribution/findkey?group={group}&key={key}");
        let answer = self.api(&target)?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        ensure!(
            answer.status == 200,
            "findkey answered {}: {}",
            answer.status,
            answer.text()
        );
        let found: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let holders = found.get("holders").and_then(|holders| holders.as_array());
        let names = holders
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Its metrics page.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn metrics(&self) -> Result<String> {
        Ok(self.page("/metrics").get()?.text())
    }

    /// The running program.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it as a crash would.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(self) -> Result<()> {
        self.process.stop(STOP)
    }

    fn page(&self, target: &'static str) -> Page {
        let address = SocketAddr::new(self.host.address, ADMIN);
        Page {
            host: self.host.clone(),
            address,
            target,
        }
    }
}

struct Page {
    host: Host,
    address: SocketAddr,
    target: &'static str,
}

impl Page {
    fn get(&self) -> Result<Answer> {
        get(&self.host.netns, self.address, self.target)
    }
}
