//! Two nodes with everything that is compared.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::{
    Bed, BedSetup, Containerd, Host, Netns, Node, Plan, Process, Release, Run, get, wait_until,
};

use super::images::{self, Bytes, Made};
use super::nginx;
use crate::bench::{process, programs::release_of};
use crate::setup::{self, BUILD, DATAPATH, DEMO};
use crate::shell;

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
    made: Vec<Made>,
    programs: PathBuf,
    pub(in crate::bench) bed: Bed,
}

/// What is asked for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Target {
    /// nginx on the holder's node, by sendfile.
    Nginx,
    /// Our agent's peer listener there.
    Peer,
    /// nginx on the reader's node as a proxy of the first.
    Proxy,
    /// A relay to the first that splices.
    Splice,
    /// A relay to the first that reads and writes.
    Copy,
    /// Our agent's mirror on the reader's node, which asks our peer.
    Mirror,
    /// Our agent's mirror on the holder's node, which has it itself.
    Own,
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
const SHARED: Duration = Duration::from_mins(1);
const CHECKED: Duration = Duration::from_mins(1);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7786);

impl Stand {
    /// Builds the programs, and starts everything.
    pub(in crate::bench) fn start() -> Result<Self> {
        setup::packages(&[BUILD, DEMO, DATAPATH])?;
        let programs = release_of(&PROGRAMS)?;
        let setup = BedSetup {
            plan: Plan::unshaped(&[2]),
            release: Release::Installed,
        };
        let mut bed = Bed::start(Run::start()?, &setup)?;
        let finder = bed.network().add_core_host("finder", None)?;
        let (holder, reader) = (node(&bed, 0)?, node(&bed, 1)?);
        let made = layers(&holder.containerd)?;
        let run = bed.run();
        let server = start_server(run, &finder, &programs)?;
        let peer = start_agent(run, holder, &finder, &programs)?;
        wait_until_shared(&finder, &made)?;
        expect(&reader.containerd, &made)?;
        let mirror = start_agent(run, reader, &finder, &programs)?;
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
            files: nginx::files(run, &holder.host, from, &blobs)?,
            proxy: nginx::proxy(run, &reader.host, here(Target::Proxy), from)?,
            splice: relay("splice", Target::Splice, "splice")?,
            copy: relay("copy", Target::Copy, "copy")?,
            _server: server,
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
            Target::Nginx | Target::Peer | Target::Own => 0,
            Target::Proxy | Target::Splice | Target::Copy | Target::Mirror => 1,
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
        process::cgroup_cpu(self.process(target).cgroup())
    }

    /// The last that a target has logged.
    pub(super) fn log_tail(&self, target: Target) -> String {
        self.process(target).log_tail()
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
        wait_until("our peer to have checked its layers", CHECKED, || {
            let busy = || self.cpu(Target::Peer);
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

    fn process(&self, target: Target) -> &Process {
        match target {
            Target::Nginx => &self.files,
            Target::Peer | Target::Own => &self.peer,
            Target::Proxy => &self.proxy,
            Target::Splice => &self.splice,
            Target::Copy => &self.copy,
            Target::Mirror => &self.mirror,
        }
    }
}

impl Target {
    pub(in crate::bench) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx, sendfile",
            Self::Peer => "our peer",
            Self::Proxy => "nginx, proxy",
            Self::Splice => "splice relay",
            Self::Copy => "read/write relay",
            Self::Mirror => "our mirror",
            Self::Own => "our mirror, own content",
        }
    }

    /// Who has the files.
    pub(super) fn source(self) -> Self {
        match self {
            Self::Peer | Self::Mirror | Self::Own => Self::Peer,
            Self::Nginx | Self::Proxy | Self::Splice | Self::Copy => Self::Nginx,
        }
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

/// Waits until an agent says that it is ready.
pub(in crate::bench) fn wait_ready(netns: &Netns) -> Result<()> {
    wait_until("the agent to be ready", START, || {
        Ok((get(netns, ADMIN, "/readyz")?.status == 200).then_some(()))
    })
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

fn at(host: &Host, target: Target) -> SocketAddr {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match target {
        Target::Nginx => (host.address, 8001).into(),
        Target::Peer => (host.address, 7787).into(),
        Target::Proxy => (local, 8002).into(),
        Target::Splice => (local, 8003).into(),
        Target::Copy => (local, 8004).into(),
        Target::Mirror | Target::Own => (local, 7788).into(),
    }
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

fn start_server(run: &Run, host: &Host, programs: &Path) -> Result<Process> {
    let arguments = [
        "serve".to_owned(),
        format!("--listen={}", server(host)),
        format!("--admin-listen={}", SocketAddr::new(host.address, 7790)),
        format!(
            "--database=sqlite://{}/bench.sqlite",
            run.directory().display()
        ),
    ];
    let program = programs.join("piccolo-server");
    let process = Process::start(run, &host.netns, "bench-server", &program, arguments)?;
    wait_until("the server to answer", START, || {
        Ok((get(&host.netns, server(host), "/healthz")?.status == 200).then_some(()))
    })?;
    Ok(process)
}

fn server(host: &Host) -> SocketAddr {
    (host.address, 7789).into()
}

fn start_agent(run: &Run, node: &Node, finder: &Host, programs: &Path) -> Result<Process> {
    let arguments = [
        "run".to_owned(),
        format!("--server=http://{}", server(finder)),
        format!("--group={}", Bed::group()),
        format!("--advertise-address={}", node.host.address),
        format!("--containerd-socket={}", node.containerd.socket().display()),
        format!("--content-path={}", node.containerd.content().display()),
    ];
    let name = format!("{}-bench-agent", node.host.name);
    let program = programs.join("pi-agent");
    let process = Process::start(run, &node.host.netns, &name, &program, arguments)?;
    wait_ready(&node.host.netns)?;
    Ok(process)
}

fn wait_until_shared(finder: &Host, made: &[Made]) -> Result<()> {
    wait_until("the server to know the layers", SHARED, || {
        for digest in made.iter().flat_map(|image| &image.layers) {
            let group = Bed::group();
            let target = format!("/api/v1/distribution/findkey?group={group}&key={digest}");
            if get(&finder.netns, server(finder), &target)?.status != 200 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
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
