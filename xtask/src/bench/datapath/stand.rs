//! Two nodes with everything that is compared.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::{Bed, BedSetup, Containerd, Netns, Node, Plan, Process, Release, Run, wait_until};

use super::images::{self, Bytes, Made};
use super::nginx;
use super::secured::{Place, Secured};
use super::start::{PLAIN, start_agent, start_server, wait_until_shared};
use super::target::at;
use crate::bench::{process, programs::release_of};
use crate::setup::{self, BUILD, DATAPATH, DEMO};
use crate::shell;

pub(in crate::bench) use super::target::Target;

/// The holder's node, the reader's node, and all that runs on them.
#[derive(Debug)]
pub(in crate::bench) struct Stand {
    // Processes go before the bed that they run in.
    peer: Process,
    mirror: Process,
    files: Process,
    proxy: Process,
    splice: Process,
    copy: Process,
    _server: Process,
    secured: Option<Secured>,
    made: Vec<Made>,
    programs: PathBuf,
    pub(in crate::bench) bed: Bed,
}

/// Which layers are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layers {
    /// One of 1 GiB.
    Large,
    /// 64 of 16 MiB.
    Small,
}

/// The holder's link is shaped until this is dropped.
#[derive(Debug)]
pub(super) struct Shaped<'a>(&'a Netns);

const START: Duration = Duration::from_secs(30);
const CHECKED: Duration = Duration::from_mins(1);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7786);

impl Stand {
    /// Builds the programs, and starts everything.
    pub(in crate::bench) fn start() -> Result<Self> {
        Self::with(false)
    }

    /// The same, and what is compared with TLS between the nodes.
    pub(super) fn secured() -> Result<Self> {
        Self::with(true)
    }

    fn with(tls: bool) -> Result<Self> {
        setup::packages(&[BUILD, DEMO, DATAPATH])?;
        let programs = release_of(&PROGRAMS)?;
        let setup = BedSetup {
            plan: Plan::unshaped(&[2]),
            release: Release::Installed,
        };
        let mut bed = Bed::start(Run::start()?, &setup)?;
        let finder = bed.network().add_core_host("finder", None)?;
        let guarded = bed.network().add_core_host("guarded", None)?;
        let (holder, reader) = (node(&bed, 0)?, node(&bed, 1)?);
        let made = layers(&holder.containerd)?;
        let run = bed.run();
        let server = start_server(run, &finder, &programs, &[])?;
        let peer = start_agent(run, holder, &finder, &programs, &PLAIN)?;
        wait_until_shared(&finder, PLAIN.group, &made)?;
        expect(&reader.containerd, &made)?;
        let mirror = start_agent(run, reader, &finder, &programs, &PLAIN)?;
        let place = Place {
            run,
            programs: &programs,
            finder: &guarded,
            holder,
            reader,
        };
        let secured = tls.then(|| Secured::start(place, &made)).transpose()?;
        let blobs = holder.containerd.content().join("blobs");
        let from = at(&holder.host, Target::Nginx);
        let here = |target| at(&reader.host, target);
        let relay = |name, target, way: &str| {
            let arguments = [
                "relay".to_owned(),
                format!("--listen={}", here(target)),
                format!("--upstream={from}"),
                format!("--way={way}"),
            ];
            let program = programs.join("data-path");
            Process::start(run, &reader.host.netns, name, &program, arguments)
        };
        let stand = Self {
            peer,
            mirror,
            files: nginx::files(run, &holder.host, from, &blobs, None)?,
            proxy: nginx::proxy(run, &reader.host, here(Target::Proxy), from, None)?,
            splice: relay("splice", Target::Splice, "splice")?,
            copy: relay("copy", Target::Copy, "copy")?,
            _server: server,
            secured,
            made,
            programs,
            bed,
        };
        for target in [Target::Nginx, Target::Proxy, Target::Splice, Target::Copy] {
            let netns = &node(&stand.bed, 1)?.host.netns;
            let address = stand.address(target);
            wait_until(target.name(), START, || {
                Ok(netns.connect(address, START).is_ok().then_some(()))
            })?;
        }
        Ok(stand)
    }

    pub(in crate::bench) fn address(&self, target: Target) -> SocketAddr {
        let place = match target {
            Target::Nginx | Target::Peer | Target::Own | Target::NginxTls | Target::PeerTls => 0,
            Target::Proxy
            | Target::Splice
            | Target::Copy
            | Target::Mirror
            | Target::ProxyTls
            | Target::MirrorTls => 1,
        };
        // The bed has both nodes.
        let host = self.bed.nodes.get(place).map(|node| &node.host);
        host.map_or(ADMIN, |host| at(host, target))
    }

    pub(super) fn paths(&self, layers: Layers) -> Vec<String> {
        let image = match layers {
            Layers::Large => self.made.first(),
            Layers::Small => self.made.get(1),
        };
        let digests = image.map(|image| image.layers.iter());
        let path = |digest| format!("/v2/bench/layers/blobs/{digest}?ns=registry.test");
        digests.into_iter().flatten().map(path).collect()
    }

    /// The digest of a manifest that the holder has.
    pub(in crate::bench) fn manifest(&self) -> Option<&str> {
        Some(&self.made.get(1)?.manifest)
    }

    /// Our agent on the holder's node.
    pub(in crate::bench) fn agent(&self) -> &Process {
        &self.peer
    }

    /// A command inside the holder's node.
    pub(in crate::bench) fn holder(&self, program: &str) -> Result<Command> {
        Ok(node(&self.bed, 0)?.host.netns.command(program))
    }

    /// The holder's containerd.
    pub(in crate::bench) fn containerd(&self) -> Result<&Containerd> {
        Ok(&node(&self.bed, 0)?.containerd)
    }

    /// A command of the reader, inside its node.
    pub(super) fn reader(&self) -> Command {
        let program = self.programs.join("data-path");
        match self.bed.nodes.get(1) {
            Some(node) => node.host.netns.command(program),
            None => Command::new(program),
        }
    }

    /// The content directory of the reader's containerd.
    pub(super) fn commits_to(&self) -> Result<PathBuf> {
        Ok(node(&self.bed, 1)?.containerd.content())
    }

    /// Processor time of a target so far.
    pub(in crate::bench) fn cpu(&self, target: Target) -> Result<Duration> {
        process::cgroup_cpu(self.process(target)?.cgroup())
    }

    /// The last that a target has logged.
    pub(super) fn log_tail(&self, target: Target) -> String {
        let process = self.process(target);
        process.map_or_else(|error| error.to_string(), Process::log_tail)
    }

    /// Reads every layer once, so that it is in memory, and has our peer check each: it does so when
    /// it is asked for a layer for the first time in a day, and the tables are of what comes after.
    pub(super) fn warm(&self) -> Result<()> {
        let holder = node(&self.bed, 0)?;
        let blobs = holder.containerd.content().join("blobs/sha256");
        for entry in fs::read_dir(blobs).context("listing the blobs")? {
            let mut file = fs::File::open(entry?.path())?;
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
        let paths = [Layers::Large, Layers::Small].map(|layers| self.paths(layers));
        let mut reader = self.reader();
        reader
            .arg("fetch")
            .arg(format!("--from={}", self.address(Target::Peer)))
            .args(["--streams=2", "--repeat=1"])
            .args(paths.concat());
        shell::output(&mut reader)?;
        if self.secured.is_some() {
            let mut reader = self.reader();
            reader
                .arg("fetch")
                .arg(format!("--from={}", self.address(Target::MirrorTls)))
                .args(["--streams=2", "--repeat=1"])
                .args(paths.concat())
                .arg("--commit")
                .arg(self.commits_to()?);
            shell::output(&mut reader)?;
        }
        wait_until("our peers to have checked their layers", CHECKED, || {
            let secured = || match &self.secured {
                Some(_) => self.cpu(Target::PeerTls),
                None => Ok(Duration::ZERO),
            };
            let busy = || anyhow::Ok(self.cpu(Target::Peer)? + secured()?);
            let before = busy()?;
            std::thread::sleep(Duration::from_secs(1));
            Ok((busy()?.saturating_sub(before) < Duration::from_millis(50)).then_some(()))
        })
    }

    /// Gives the holder a link of 1 Gbit/s.
    pub(super) fn shape(&self) -> Result<Shaped<'_>> {
        let netns = &node(&self.bed, 0)?.host.netns;
        let limit = "root tbf rate 1gbit burst 256k latency 50ms";
        shell::output(&mut tc(netns, &format!("replace dev eth0 {limit}")))?;
        Ok(Shaped(netns))
    }

    /// What our agents and nginx have resident.
    pub(super) fn memory(&self) -> Vec<String> {
        let agents = [("peer", &self.peer), ("mirror", &self.mirror)];
        let lines = agents.map(|(name, process)| {
            let memory = process::resident(process.id());
            format!(
                "our {name}: {:.1} MB resident, {:.1} MB at most",
                megabytes(memory.now),
                megabytes(memory.peak)
            )
        });
        lines.to_vec()
    }

    fn process(&self, target: Target) -> Result<&Process> {
        Ok(match target {
            Target::Nginx => &self.files,
            Target::Peer | Target::Own => &self.peer,
            Target::Proxy => &self.proxy,
            Target::Splice => &self.splice,
            Target::Copy => &self.copy,
            Target::Mirror => &self.mirror,
            Target::NginxTls | Target::PeerTls | Target::ProxyTls | Target::MirrorTls => {
                let secured = self.secured.as_ref();
                return secured.context("nothing has TLS here")?.process(target);
            }
        })
    }
}

impl Drop for Shaped<'_> {
    fn drop(&mut self) {
        // The namespace goes away with the bed in any case.
        let _ = shell::output(&mut tc(self.0, "del dev eth0 root"));
    }
}

/// Bytes as MB, for the eye.
pub(in crate::bench) fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) * 1024.0 / 1e6
}

fn tc(netns: &Netns, arguments: &str) -> Command {
    let mut tc = Command::new("tc");
    tc.args(["-n", netns.name(), "qdisc"]);
    tc.args(arguments.split_whitespace());
    tc
}

fn node(bed: &Bed, number: usize) -> Result<&Node> {
    bed.nodes.get(number).context("no such node")
}

/// What is measured, and what measures.
const PROGRAMS: [(&str, &str); 3] = [
    ("pi-agent", "pi-agent"),
    ("piccolo-server", "piccolo-server"),
    ("system-tests", "data-path"),
];

/// Gives the holder an image of one large layer, and one of many.
fn layers(containerd: &Containerd) -> Result<Vec<Made>> {
    let layer = |number, mebibytes: u64| Bytes {
        number,
        kibibytes: mebibytes << 10,
    };
    let many = (1..=64).map(|number| layer(number, 16)).collect();
    images::import(&containerd.socket(), 0, &[vec![layer(0, 1024)], many])
}

/// Opens the ingests that the reader's containerd would have opened before it asked: without them
/// the agent takes the reader for a stranger, and hashes what it gives it.
fn expect(containerd: &Containerd, made: &[Made]) -> Result<()> {
    let ingests = containerd.content().join("ingest");
    let layers = made
        .iter()
        .flat_map(|image| image.layers.iter().zip(&image.sizes));
    for (number, (digest, size)) in layers.enumerate() {
        let ingest = ingests.join(format!("bench-{number}"));
        fs::create_dir_all(&ingest).context("making an ingest")?;
        fs::write(ingest.join("ref"), format!("k8s.io/1/layer-{digest}"))?;
        fs::write(ingest.join("total"), size.to_string())?;
        fs::write(ingest.join("data"), "")?;
    }
    Ok(())
}
