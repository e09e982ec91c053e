//! A crowd on a bed: nodes in shaped racks that pull at once what nobody has.

pub mod cases;
pub mod disk;
pub mod faults;
pub mod figures;
mod servers;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    net::IpAddr,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;
use testbed::{
    Agent, Bed, BedSetup, Certified, Family, Image, ImageSpec, Layer, Node, Packing, Plan, Rate,
    Run, SqlServer,
};
use testbed::{Release, wait_until};

use self::servers::Others;
pub use self::servers::Servers;
use crate::{APP, pull_within};

/// How long a pull of the bench and of the fault plans may take.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
/// How often a node's content is looked at: its time is known to this.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long containerd may take to collect what was removed.
const COLLECTED: Duration = Duration::from_secs(30);

/// What an agent counts its permits as.
const PERMITS: &str = "piccolo_agent_swarm_turns_total{verdict=\"permit\"}";

/// What the server is told. Its log says who was sent where.
const SERVER: [&str; 2] = ["--swarm=on", "--log=info,piccolo_server=debug"];
/// What every agent of a crowd is told.
pub const ON: &str = "--swarm=on";

/// Megabits per second of the links.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// Of each node.
    pub node: u32,
    /// Of each rack to the core.
    pub uplink: u32,
    /// Of the registry.
    pub registry: u32,
}

/// What a crowd is made of.
#[derive(Clone, Copy, Debug)]
pub struct CrowdSetup<'a> {
    /// The containerd of every node.
    pub release: Release,
    /// More of its settings, in TOML.
    pub settings: &'a str,
    /// How many nodes each rack has.
    pub racks: &'a [u8],
    /// The links.
    pub links: Links,
    /// The arguments of every agent.
    pub agents: &'a [&'a str],
    /// From how many nodes a rack's gateway takes.
    pub stripes: u8,
    /// What they report to.
    pub servers: Servers,
    /// How long a pull may take before it counts as one that hangs.
    pub deadline: Duration,
}

/// A bed whose nodes pull together. Dropping it removes it.
#[derive(Debug)]
pub struct Crowd {
    /// The bed.
    pub bed: Bed,
    others: Others,
    deadline: Duration,
}

/// What the nodes' pulls came to.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Seconds until the last blob of each node was committed, by the node's number. A node whose
    /// pull failed has none.
    pub seconds: BTreeMap<usize, f64>,
    /// Why pulls failed, by the node's number.
    pub failed: BTreeMap<usize, String>,
    /// Copies of the image that the registry sent.
    pub registry_copies: f64,
    /// The same by the node's number.
    pub to_nodes: BTreeMap<usize, f64>,
    /// Copies that came into each rack, from the registry and from other racks.
    pub into_racks: BTreeMap<String, f64>,
}

/// Pulls in progress.
#[derive(Debug)]
pub struct Pulls {
    image: Image,
    before: Moved,
    running: Vec<Pulling>,
}

#[derive(Debug)]
struct Pulling {
    node: usize,
    blobs: Vec<PathBuf>,
    begin: Instant,
    committed: Option<f64>,
    thread: JoinHandle<Result<()>>,
}

/// Bytes that have been moved so far: from the registry, and from peers, by the node and the peer.
#[derive(Debug, Default)]
struct Moved {
    registry: u64,
    to_nodes: BTreeMap<IpAddr, u64>,
    peers: BTreeMap<(IpAddr, IpAddr), u64>,
}

impl Crowd {
    /// Starts the bed with the server, and an agent on each node.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn start(setup: &CrowdSetup<'_>) -> Result<Self> {
        let plan = Plan {
            racks: setup.racks.to_vec(),
            node: Some(Rate::megabits(setup.links.node)),
            uplink: Some(Rate::megabits(setup.links.uplink)),
            registry: Some(Rate::megabits(setup.links.registry)),
            family: Family::V4,
        };
        let release = setup.release;
        let mut bed = Bed::prepare(Run::start()?, &BedSetup { plan, release })?;
        for node in &mut bed.nodes {
            let file = node.containerd.config_file();
            let mut file = File::options().append(true).open(file)?;
            file.write_all(setup.settings.as_bytes())?;
            node.containerd.start()?;
        }
        let stripes = format!("--swarm-stripes={}", setup.stripes);
        let arguments = [&SERVER[..], &[&stripes]].concat();
        let others = servers::start(&mut bed, setup.servers, &arguments)?;
        bed.start_agents(setup.agents)?;
        let crowd = Self {
            bed,
            others,
            deadline: setup.deadline,
        };
        crowd.use_piccolo(true)?;
        Ok(crowd)
    }

    /// Starts the server and the agents anew, as those that show each other who they are.
    ///
    /// # Errors
    /// When one does not start.
    pub fn secure(&mut self, certified: &Certified, mode: &str) -> Result<()> {
        certified.server(&mut self.bed, mode, &SERVER)?;
        certified.agents(&mut self.bed, mode, &[ON])
    }

    /// Has every containerd ask its agent first, or the registry alone.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn use_piccolo(&self, yes: bool) -> Result<()> {
        let registry = self.bed.registry.url();
        if yes {
            self.bed.set_hosts(&[Agent::mirror_url(), registry])
        } else {
            self.bed.set_hosts(&[registry])
        }
    }

    /// Pushes an image with layers of the given sizes in MiB, in place of the one before. Images with
    /// other names hold other bytes.
    ///
    /// # Errors
    /// When it cannot be made or pushed.
    pub fn push(&self, name: &str, layers: &[u32]) -> Result<Image> {
        let layers = layers.iter().map(|mebibytes| Layer {
            kibibytes: mebibytes << 10,
            packing: Packing::Tar,
        });
        let image = ImageSpec {
            layers: layers.collect(),
            ..ImageSpec::small(name)
        }
        .build()?;
        self.bed.registry.push(&image, APP)?;
        Ok(image)
    }

    /// Begins to pull on some nodes, all at the same moment or spread evenly over a time.
    ///
    /// # Errors
    /// When there is no such node, or an agent does not say what it has received.
    pub fn begin(&self, image: &Image, nodes: &[usize], spread: Duration) -> Result<Pulls> {
        let (before, deadline) = (self.moved()?, self.deadline);
        let mut running = Vec::new();
        for (place, number) in (0_u32..).zip(nodes) {
            let containerd = &crate::node(&self.bed, *number)?.containerd;
            let store = containerd.content().join("blobs/sha256");
            let hex = |digest: &str| store.join(digest.trim_start_matches("sha256:"));
            let wait = spread * place / u32::try_from(nodes.len())?.max(1);
            let cri = containerd.cri();
            running.push(Pulling {
                node: *number,
                blobs: image.native_blobs().map(|blob| hex(&blob.digest)).collect(),
                begin: Instant::now() + wait,
                committed: None,
                thread: thread::spawn(move || {
                    thread::sleep(wait);
                    pull_within(&cri, APP, deadline)
                }),
            });
        }
        Ok(Pulls {
            image: image.clone(),
            before,
            running,
        })
    }

    /// Waits until all pulls have ended, well or not.
    ///
    /// # Errors
    /// When the registry goes on answering, or a pull panics.
    pub fn finish(&self, mut pulls: Pulls) -> Result<Pulled> {
        while pulls.look() {
            thread::sleep(POLL_INTERVAL);
        }
        let mut pulled = Pulled::default();
        for pull in pulls.running {
            let result = pull.thread.join();
            match result.map_err(|_panic| anyhow!("a pull panicked"))? {
                Ok(()) => {
                    let committed = pull.committed.context("an image without its blobs")?;
                    pulled.seconds.insert(pull.node, committed);
                }
                Err(error) => {
                    pulled.failed.insert(pull.node, format!("{error:#}"));
                }
            }
        }
        self.bed.registry.settle()?;
        let after = self.moved()?;
        let registry = after.registry.saturating_sub(pulls.before.registry);
        pulled.registry_copies = pulls.image.copies(registry);
        for (number, node) in self.bed.nodes.iter().enumerate() {
            let of = |moved: &Moved| moved.to_nodes.get(&node.host.address).copied();
            let bytes = of(&after)
                .zip(of(&pulls.before))
                .map(|(now, then)| now - then);
            pulled
                .to_nodes
                .insert(number, pulls.image.copies(bytes.unwrap_or_default()));
        }
        for (rack, bytes) in self.moved_into_racks(&pulls.before, &after) {
            pulled.into_racks.insert(rack, pulls.image.copies(bytes));
        }
        Ok(pulled)
    }

    /// Pulls on some nodes, at once or spread over a time, and wants every pull to succeed.
    ///
    /// # Errors
    /// When one does not.
    pub fn pull(&self, image: &Image, nodes: &[usize], spread: Duration) -> Result<Pulled> {
        let pulls = self.begin(image, nodes, spread)?;
        let pulled = self.finish(pulls)?;
        anyhow::ensure!(pulled.failed.is_empty(), "{:?}", pulled.failed);
        Ok(pulled)
    }

    /// The database of the servers, where they have one.
    pub fn database(&self) -> Option<&SqlServer> {
        self.others.database.as_ref()
    }

    /// The numbers of all nodes.
    pub fn all(&self) -> Vec<usize> {
        (0..self.bed.nodes.len()).collect()
    }

    /// Removes the image from all nodes, and waits until it is gone and the server knows it.
    ///
    /// # Errors
    /// When containerd keeps something, an unfinished ingest too.
    pub fn forget(&self, image: &Image) -> Result<()> {
        for node in &self.bed.nodes {
            let cri = node.containerd.cri();
            let name = Bed::image_name(APP);
            if cri.status(&name)?.is_some() {
                cri.remove(&name)?;
            }
        }
        for node in &self.bed.nodes {
            let what = format!("the content of {} to be collected", node.host.name);
            wait_until(&what, COLLECTED, || {
                Ok((node.containerd.content_bytes() == 0).then_some(()))
            })?;
        }
        let server = self.bed.server.as_ref().context("no server")?;
        wait_until("the server to forget the holders", COLLECTED, || {
            for blob in image.native_blobs() {
                if server.holders(Bed::group(), &blob.digest)? > 0 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// How often each node was told to ask the registry; 0 where it does not say.
    pub fn permits(&self) -> Vec<u64> {
        self.bed.nodes.iter().map(permits_of).collect()
    }

    /// The number of the node whose containerd the registry serves with the largest blob; where it serves
    /// nobody now, of the first that it served since the nodes had `before` permits.
    pub fn first_fetcher(&self, before: &[u64]) -> Option<usize> {
        let serving = |node: &Node| {
            let status = node.agent.as_ref()?.admin("/status").ok()?.text();
            let status: Value = serde_json::from_str(&status).ok()?;
            let blobs = status["swarm"]["blobs"].as_array()?.iter();
            let permitted = blobs.filter(|blob| blob["permit"] == true);
            permitted.filter_map(|blob| blob["total"].as_u64()).max()
        };
        let nodes = self.bed.nodes.iter().enumerate();
        let serving = nodes.filter_map(|(number, node)| Some((serving(node)?, number)));
        let served = || {
            let now = self.permits();
            let mut nodes = now.iter().zip(before);
            nodes.position(|(now, before)| now > before)
        };
        serving.max().map(|(_, number)| number).or_else(served)
    }

    fn moved(&self) -> Result<Moved> {
        let mut moved = Moved {
            registry: self.bed.registry.bytes(),
            ..Moved::default()
        };
        for node in &self.bed.nodes {
            let address = node.host.address;
            let bytes = self.bed.registry.bytes_to(address);
            moved.to_nodes.insert(address, bytes);
            for (peer, bytes) in node
                .agent
                .as_ref()
                .map(Agent::received)
                .transpose()?
                .into_iter()
                .flatten()
            {
                moved.peers.insert((address, peer), bytes);
            }
        }
        Ok(moved)
    }

    fn moved_into_racks(&self, before: &Moved, after: &Moved) -> BTreeMap<String, u64> {
        let mut racks: BTreeMap<String, u64> = BTreeMap::new();
        let rack = |address: IpAddr| -> Option<&str> {
            let is_it = |node: &&Node| node.host.address == address;
            Some(&self.bed.nodes.iter().find(is_it)?.host.rack)
        };
        let since =
            |now: u64, then: Option<&u64>| now.saturating_sub(then.copied().unwrap_or_default());
        for (node, bytes) in &after.to_nodes {
            let came = since(*bytes, before.to_nodes.get(node));
            *racks
                .entry(rack(*node).unwrap_or_default().to_owned())
                .or_default() += came;
        }
        for ((node, peer), bytes) in &after.peers {
            if rack(*node) != rack(*peer) {
                let came = since(*bytes, before.peers.get(&(*node, *peer)));
                *racks
                    .entry(rack(*node).unwrap_or_default().to_owned())
                    .or_default() += came;
            }
        }
        racks
    }
}

/// How often a node was told to ask the registry; 0 where it does not say.
fn permits_of(node: &Node) -> u64 {
    let count = || {
        let page = node.agent.as_ref()?.admin("/metrics").ok()?.text();
        let mut lines = page.lines();
        lines.find_map(|line| line.strip_prefix(PERMITS)?.trim().parse().ok())
    };
    count().unwrap_or(0)
}

impl Pulls {
    /// Notes whose last blob is there; whether any pull goes on.
    fn look(&mut self) -> bool {
        let mut goes_on = false;
        for pull in &mut self.running {
            // In this order: an ended pull has its blobs.
            let ended = pull.thread.is_finished();
            if pull.committed.is_none() && pull.blobs.iter().all(|blob| blob.exists()) {
                let took = Instant::now().saturating_duration_since(pull.begin);
                pull.committed = Some(took.as_secs_f64());
            }
            goes_on |= !ended;
        }
        goes_on
    }
}
