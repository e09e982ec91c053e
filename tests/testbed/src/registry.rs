//! A real registry (`docker-registry`) in a namespace of its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::authority::Certificate;
use crate::http;
use crate::image::Image;
use crate::network::Host;
use crate::process::Process;
use crate::run::Run;
use crate::wait::wait_until;

mod gate;
mod log;
mod push;

pub use gate::{Gate, Refusal};
pub use log::AccessEntry;

const PORT: u16 = 5000;
/// Where it wants a password.
const PRIVATE_PORT: u16 = 5001;
/// The only user there, and bcrypt's hash of the password in [`Registry::CREDENTIALS`].
const USERS: &str = "puller:$2b$05$PiccoloTestbedSaltAbcOMmexCLD9ckBO6sH5vxKhPeiunJhYISm\n";
/// An answer is logged long before this has passed.
const QUIET: Duration = Duration::from_millis(300);
const START: Duration = Duration::from_secs(20);

/// A running registry. Dropping it kills it.
#[derive(Debug)]
pub struct Registry {
    host: Host,
    storage: PathBuf,
    process: Process,
    with_tls: Option<Process>,
    with_password: Option<Process>,
}

impl Registry {
    /// Starts an empty one.
    ///
    /// # Errors
    ///
    /// When `docker-registry` is missing or does not start.
    pub fn start(run: &Run, host: &Host) -> Result<Self> {
        let storage = run.make_directory(&format!("{}-storage", host.name))?;
        let config = run.directory().join(format!("{}.yml", host.name));
        fs::write(
            &config,
            configuration(&storage, &format!("addr: \":{PORT}\"")),
        )
        .context("writing the registry's settings")?;
        let program = Path::new("docker-registry");
        let arguments = ["serve".as_ref(), config.as_os_str()];
        let mut process = Process::start(run, &host.netns, &host.name, program, arguments)?;
        let local = local();
        process.wait_ready(START, || {
            Ok(http::get(&host.netns, local, "/v2/").is_ok_and(|answer| answer.status == 200))
        })?;
        Ok(Self {
            host: host.clone(),
            storage,
            process,
            with_tls: None,
            with_password: None,
        })
    }

    /// Serves the same content with TLS as well, on `port`; 443 is where a registry is expected whose name is
    /// all that is known of it.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn serve_tls(&mut self, run: &Run, with: &Certificate, port: u16) -> Result<()> {
        let name = format!("{}-tls", self.host.name);
        let listener = format!(
            "addr: \":{port}\"\n  tls:\n    certificate: {}\n    key: {}",
            with.certificate.display(),
            with.key.display()
        );
        let config = run.directory().join(format!("{name}.yml"));
        fs::write(&config, configuration(&self.storage, &listener))
            .context("writing the registry's settings")?;
        let arguments = ["serve".as_ref(), config.as_os_str()];
        let (program, netns) = (Path::new("docker-registry"), &self.host.netns);
        let mut process = Process::start(run, netns, &name, program, arguments)?;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        process.wait_ready(START, || Ok(netns.connect(address, START).is_ok()))?;
        self.with_tls = Some(process);
        Ok(())
    }

    /// Who may pull where a password is wanted.
    pub const CREDENTIALS: (&str, &str) = ("puller", "secret");

    /// Serves the same content to those with a password as well; gives where.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn serve_private(&mut self, run: &Run) -> Result<String> {
        let name = format!("{}-private", self.host.name);
        let users = run.directory().join(format!("{name}.users"));
        fs::write(&users, USERS).context("writing the registry's users")?;
        let config = run.directory().join(format!("{name}.yml"));
        let settings = configuration(&self.storage, &format!("addr: \":{PRIVATE_PORT}\""));
        let users = users.display();
        let settings =
            format!("{settings}auth:\n  htpasswd:\n    realm: testbed\n    path: {users}\n");
        fs::write(&config, settings).context("writing the registry's settings")?;
        let arguments = ["serve".as_ref(), config.as_os_str()];
        let (program, netns) = (Path::new("docker-registry"), &self.host.netns);
        let mut process = Process::start(run, netns, &name, program, arguments)?;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PRIVATE_PORT);
        process.wait_ready(START, || {
            Ok(http::get(netns, address, "/v2/").is_ok_and(|answer| answer.status == 401))
        })?;
        self.with_password = Some(process);
        let address = SocketAddr::new(self.host.address, PRIVATE_PORT);
        Ok(format!("http://{address}"))
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.host.address
    }

    /// Where nodes reach it.
    pub fn url(&self) -> String {
        format!("http://{}", SocketAddr::new(self.host.address, PORT))
    }

    /// Opens a gate to it, which turns some clients away: [`Gate::url`] is where nodes reach it then.
    ///
    /// # Errors
    ///
    /// When there is one already.
    pub fn open_gate(&self) -> Result<Gate> {
        Gate::open(&self.host, local())
    }

    /// Puts an image under a name, for instance `lib/app:v1`, from the registry's own namespace:
    /// its link is not used.
    ///
    /// # Errors
    ///
    /// When the registry refuses a part.
    pub fn push(&self, image: &Image, name: &str) -> Result<()> {
        push::push(&self.host.netns, local(), image, name)
            .with_context(|| format!("pushing {name}"))
    }

    /// Waits until its log stands still: an answer is logged just after it has gone out.
    ///
    /// # Errors
    ///
    /// When it goes on answering.
    pub fn settle(&self) -> Result<()> {
        let mut last = None;
        wait_until("the registry's log to stand still", START, || {
            let entries = self.access_log().len();
            let stands = last.replace((entries, Instant::now()));
            match stands {
                Some((before, since)) if before == entries => {
                    last = Some((entries, since));
                    Ok((since.elapsed() > QUIET).then_some(()))
                }
                _ => Ok(None),
            }
        })
    }

    /// What it has answered so far, oldest first, and after that what it has answered with TLS, and to those
    /// with a password.
    pub fn access_log(&self) -> Vec<AccessEntry> {
        let mut entries = log::parse(&self.process.log());
        for other in [&self.with_tls, &self.with_password].into_iter().flatten() {
            entries.extend(log::parse(&other.log()));
        }
        entries
    }

    /// The bytes of all bodies sent to a client so far.
    pub fn bytes_to(&self, client: IpAddr) -> u64 {
        self.access_log()
            .iter()
            .filter(|entry| entry.client == client)
            .map(|entry| entry.bytes)
            .sum()
    }

    /// The bytes of all bodies sent to other machines so far.
    pub fn bytes(&self) -> u64 {
        self.access_log()
            .iter()
            .filter(|e| !e.client.is_loopback())
            .map(|entry| entry.bytes)
            .sum()
    }
}

fn local() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT)
}

fn configuration(storage: &Path, listener: &str) -> String {
    format!(
        "version: 0.1
log:
  level: info
  formatter: json
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {storage}
http:
  {listener}
  secret: testbed
",
        storage = storage.display()
    )
}
