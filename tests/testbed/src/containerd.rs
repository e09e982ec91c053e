//! One containerd in a namespace, with a root of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cri::Cri;
use crate::exec;
use crate::network::Host;
use crate::process::Process;
use crate::run::Run;

pub(crate) mod config;
pub(crate) mod pause;
mod release;

pub use release::Release;

const START: Duration = Duration::from_secs(40);
const STOP: Duration = Duration::from_secs(20);

/// A containerd that can be started, stopped and started again over the same content.
#[derive(Debug)]
pub struct Containerd {
    run: Run,
    host: Host,
    program: PathBuf,
    directory: PathBuf,
    process: Option<Process>,
}

impl Containerd {
    /// Prepares one that is not running yet.
    ///
    /// # Errors
    ///
    /// When the release cannot be downloaded or the settings cannot be written.
    pub fn prepare(run: &Run, host: &Host, release: Release) -> Result<Self> {
        let program = release.program()?;
        let directory = run.make_directory(&format!("{}/containerd", host.name))?;
        let containerd = Self {
            run: run.clone(),
            host: host.clone(),
            program,
            directory,
            process: None,
        };
        for path in [
            containerd.hosts_directory(),
            containerd.directory.join("cni"),
        ] {
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let settings = config::text(&containerd.places(), &containerd.directory)?;
        fs::write(containerd.config_file(), settings).context("writing containerd's settings")?;
        Ok(containerd)
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&mut self) -> Result<()> {
        ensure!(
            self.process.is_none(),
            "containerd of {} runs already",
            self.host.name
        );
        let name = format!("{}-containerd", self.host.name);
        let config = self.config_file();
        let arguments = ["--config".as_ref(), config.as_os_str()];
        let (run, netns) = (&self.run, &self.host.netns);
        let mut process = Process::start(run, netns, &name, &self.program, arguments)?;
        let cri = self.cri();
        process.wait_ready(START, || Ok(self.socket().exists() && cri.list().is_ok()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it; its content stays.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process
            .take()
            .map_or(Ok(()), |process| process.stop(STOP))
    }

    /// Kills it as a crash would; its content stays.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Stops it and removes all its content.
    ///
    /// # Errors
    ///
    /// When it does not end, or something cannot be removed.
    pub fn wipe(&mut self) -> Result<()> {
        self.stop()?;
        // The content may lie on a disk of its own, which stays.
        let content = self.content();
        let in_content = entries(&content).collect::<Vec<_>>();
        let in_root = entries(&self.root()).filter(|path| *path != content);
        let all = in_content.into_iter().chain(in_root);
        for path in all.chain([self.state()]).filter(|path| path.exists()) {
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }

    /// Its CRI image service.
    pub fn cri(&self) -> Cri {
        Cri::new(&self.socket())
    }

    /// Imports the images of an archive, with the client that belongs to it.
    ///
    /// # Errors
    ///
    /// When it does not run, or what it says of the archive.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let client = self.program.with_file_name("ctr");
        let mut client = std::process::Command::new(client);
        client.arg("--address").arg(self.socket());
        client.args(["--namespace", "k8s.io", "images", "import", "--no-unpack"]);
        exec::run(client.arg(archive)).map(drop)
    }

    /// Imports what it needs to run pods.
    ///
    /// # Errors
    ///
    /// As [`Containerd::import`].
    pub fn prepare_pods(&self) -> Result<()> {
        self.import(&pause::archive()?)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("c.sock")
    }

    /// Its content store.
    pub fn content(&self) -> PathBuf {
        self.root().join("io.containerd.content.v1.content")
    }

    /// The bytes in its content store, those still arriving too.
    pub fn content_bytes(&self) -> u64 {
        let ingests = self.content().join("ingest");
        let arriving = entries(&ingests).map(|ingest| ingest.join("data"));
        let blobs = entries(&self.content().join("blobs/sha256"));
        // Files come and go meanwhile.
        blobs
            .chain(arriving)
            .filter_map(|file| fs::metadata(file).ok())
            .map(|data| data.len())
            .sum()
    }

    /// Where it looks for its registries' mirrors, as [`crate::Hosts::write`] wants it.
    pub fn hosts_directory(&self) -> PathBuf {
        self.directory.join("certs.d")
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The file with its settings.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// What `containerd --version` says of it.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn version(&self) -> Result<String> {
        exec::run(std::process::Command::new(&self.program).arg("--version"))
    }

    fn places(&self) -> config::Places {
        config::Places {
            root: self.root(),
            state: self.state(),
            socket: self.socket(),
            ttrpc: self.directory.join("t.sock"),
            cni: self.directory.join("cni"),
            hosts: self.hosts_directory(),
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}
