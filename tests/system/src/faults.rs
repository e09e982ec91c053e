//! A puller, a peer beside it that misbehaves, and a good holder a rack away.

pub mod busy;
pub mod memory;
pub mod resumed;
pub mod soak;

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    Agent, Bed, BedSetup, Host, Image, ImageSpec, Layer, Netns, Node, Packing, Plan, Process,
    Release, Run, binary, wait_until,
};

use crate::{APP, PULL, node, pull};

/// Everything that the faulty peer can do wrong, as its command line names it. What comes last
/// makes the agent distrust the layer for a while.
pub const FAULTS: [&str; 13] = [
    "kill",
    "stop",
    "trickle",
    "fin",
    "rst",
    "wrong-length",
    "wrong-range",
    "server-error",
    "too-many-requests",
    "endless-headers",
    "closes-at-once",
    WRONG_BYTES,
    WRONG_THEN_FIN,
];

/// Those that come in the middle of the layer, with what came before taken.
const HALF_WAY: [&str; 5] = ["kill", "stop", "trickle", "fin", "rst"];

/// The fault that containerd finds, so that only the retry succeeds.
const WRONG_BYTES: &str = "wrong-bytes";
/// The same from a peer that then breaks off, so that others give the rest.
const WRONG_THEN_FIN: &str = "wrong-then-fin";
/// A peer that does nothing wrong.
pub const NO_FAULT: &str = "none";

/// The puller's place among the nodes, the faulty peer's and the good holder's.
const PULLER: usize = 0;
const FAULTY: usize = 1;
const HOLDER: usize = 2;
/// The port on which agents serve.
const PEER: u16 = 7787;
const CALL: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(10);
/// How long containerd may take to collect the blobs of an image that was removed.
const COLLECTED: Duration = Duration::from_secs(30);
/// How soon after a failed pull the next try comes; the kubelet waits for 10 s.
const RETRY: Duration = Duration::from_secs(1);

/// A bed in which one peer is not to be relied on.
#[derive(Debug)]
pub struct Lab {
    /// The bed.
    pub bed: Bed,
    /// What is pulled.
    pub image: Image,
    started: u16,
}

/// A peer that misbehaves, known to the server as the image's holder. It ends when dropped.
#[derive(Debug)]
pub struct Faulty {
    process: Process,
    /// Where it serves.
    pub holder: SocketAddr,
}

/// What a pull came to.
#[derive(Debug, Clone, Copy)]
pub struct Pulled {
    /// How long the pull took, and the retry where the first one failed.
    pub took: Duration,
    /// Bytes that the registry sent to the puller.
    pub from_registry: u64,
    /// Whether a second try was needed.
    pub retried: bool,
}

/// Who has the image besides the faulty peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// The good holder.
    Second,
    /// Nobody.
    Nobody,
}

/// Whether containerd finds a fault, so that only the retry succeeds.
pub fn fails_at_first(fault: &str) -> bool {
    [WRONG_BYTES, WRONG_THEN_FIN].contains(&fault)
}

impl Lab {
    /// Starts the bed and lets the good holder pull an image with one layer of `kibibytes`.
    ///
    /// # Errors
    /// When something does not start.
    pub fn new(release: Release, kibibytes: u32) -> Result<Self> {
        Self::with_settings(release, kibibytes, "")
    }

    /// The same, with more in the settings of every containerd.
    ///
    /// # Errors
    /// When something does not start.
    pub fn with_settings(release: Release, kibibytes: u32, settings: &str) -> Result<Self> {
        let plan = Plan::unshaped(&[2, 1]);
        let mut bed = Bed::prepare(Run::start()?, &BedSetup { plan, release })?;
        for number in [PULLER, HOLDER] {
            let node = bed.nodes.get_mut(number).context("no such node")?;
            let file = node
                .containerd
                .hosts_directory()
                .with_file_name("config.toml");
            let mut file = File::options().append(true).open(file)?;
            file.write_all(settings.as_bytes())?;
            node.containerd.start()?;
        }
        bed.start_server(&[])?;
        bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
        let image = ImageSpec {
            layers: vec![Layer {
                kibibytes,
                packing: Packing::Tar,
            }],
            ..ImageSpec::small("faults")
        }
        .build()?;
        bed.registry.push(&image, APP)?;
        let mut lab = Self {
            bed,
            image,
            started: 0,
        };
        lab.restart(HOLDER, &[])?;
        lab.restart(PULLER, &[])?;
        pull(node(&lab.bed, HOLDER)?, APP)?;
        lab.bed.wait_until_shared(&lab.image)?;
        Ok(lab)
    }

    /// The node that pulls.
    ///
    /// # Errors
    /// Never: the bed has it.
    pub fn puller(&self) -> Result<&Node> {
        node(&self.bed, PULLER)
    }

    /// The agents of the puller and of the good holder, as far as they run.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.bed.nodes.iter().filter_map(|node| node.agent.as_ref())
    }

    /// Starts the puller's agent anew, which remembers nothing then.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_puller(&mut self) -> Result<()> {
        self.restart(PULLER, &[])
    }

    /// The same with more flags.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_puller_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.restart(PULLER, arguments)
    }

    /// Takes the good holder away; its agent says good-bye.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_holder(&mut self) -> Result<()> {
        let node = self.bed.nodes.get_mut(HOLDER).context("no such node")?;
        node.agent.take().map_or(Ok(()), Agent::stop)
    }

    /// Starts a peer that has the image and misbehaves, and tells the server of it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_faulty(&mut self, fault: &str) -> Result<Faulty> {
        self.start_peer(fault, &self.blobs()?, &self.digests(), &[])
    }

    /// What the image consists of.
    fn digests(&self) -> Vec<String> {
        let blobs = self.image.native_blobs();
        blobs.map(|blob| blob.digest.clone()).collect()
    }

    /// The directory of the image's blobs.
    fn blobs(&self) -> Result<PathBuf> {
        let root = self.image.path(&self.image.root);
        let blobs = root.ancestors().nth(2).context("the image has no blobs")?;
        Ok(blobs.to_owned())
    }

    /// Starts a peer in the puller's rack that the server takes for a holder of `digests`.
    fn start_peer(
        &mut self,
        fault: &str,
        blobs: &Path,
        digests: &[String],
        more: &[String],
    ) -> Result<Faulty> {
        let host = node(&self.bed, FAULTY)?.host.clone();
        let holder = SocketAddr::new(host.address, PEER + self.started + 1);
        let process = self.start_process(&host, holder, fault, blobs, more)?;
        self.claim(holder, digests)?;
        Ok(Faulty { process, holder })
    }

    /// Starts a peer of which the server knows nothing.
    fn start_process(
        &mut self,
        host: &Host,
        listen: SocketAddr,
        fault: &str,
        blobs: &Path,
        more: &[String],
    ) -> Result<Process> {
        self.started += 1;
        let mut arguments = vec![
            format!("--listen={listen}"),
            format!("--fault={fault}"),
            format!("--blobs={}", blobs.display()),
        ];
        arguments.extend_from_slice(more);
        let name = format!("faulty-{}", self.started);
        let (run, program) = (self.bed.run(), binary("fault-peer")?);
        let mut process = Process::start(run, &host.netns, &name, &program, &arguments)?;
        let log = run.directory().join(format!("{name}.log"));
        process.wait_ready(START, || {
            Ok(std::fs::read_to_string(&log)?.contains("listens"))
        })?;
        Ok(process)
    }

    /// Tells the server what a holder has, in place of the holder.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn claim(&self, holder: SocketAddr, digests: &[String]) -> Result<()> {
        let body = serde_json::json!({
            "holder": holder.to_string(),
            "keys": digests,
            "group": Bed::group(),
        });
        let server = self.bed.server_url();
        let server = server.trim_start_matches("http://").parse()?;
        let netns = &self.puller()?.host.netns;
        post(
            netns,
            server,
            "/api/v1/distribution/sync",
            &body.to_string(),
        )
    }

    /// Pulls the image on the puller, a second time where the first may fail.
    ///
    /// # Errors
    /// When the pull fails that has to succeed.
    pub fn pull(&self, may_fail: bool) -> Result<Pulled> {
        let puller = self.puller()?;
        let before = self.bed.registry.bytes_to(puller.host.address);
        let name = Bed::image_name(APP);
        let once = || {
            let begin = Instant::now();
            let result = puller.containerd.cri().pull(&name, PULL);
            (result, begin.elapsed())
        };
        let (result, mut took) = once();
        let retried = match result {
            Ok(_) => false,
            Err(error) => {
                ensure!(may_fail, "the pull failed: {error:#}");
                thread::sleep(RETRY);
                let (result, second) = once();
                result.context("the retry failed")?;
                took += second;
                true
            }
        };
        self.bed.registry.settle()?;
        let from_registry = self.bed.registry.bytes_to(puller.host.address) - before;
        Ok(Pulled {
            took,
            from_registry,
            retried,
        })
    }

    /// Removes the image from the puller and waits until its content is gone.
    ///
    /// # Errors
    /// When containerd keeps it.
    pub fn forget(&self) -> Result<()> {
        let containerd = &self.puller()?.containerd;
        containerd.cri().remove(&Bed::image_name(APP))?;
        wait_until("the puller's content to be collected", COLLECTED, || {
            Ok((containerd.content_bytes() == 0).then_some(()))
        })
    }

    /// Pulls from a peer with this fault, and checks who gave the bytes.
    ///
    /// # Errors
    /// When the pull fails, the fault did not happen, or the bytes came from elsewhere.
    pub fn check(&mut self, fault: &str, others: Others) -> Result<Pulled> {
        let most = self.most_of_registry(fault, others);
        let pulled = self.survive(fault)?;
        ensure!(
            pulled.from_registry <= most,
            "the registry sent {} of {} bytes, and {most} at most should have come from it",
            pulled.from_registry,
            self.image.bytes()
        );
        Ok(pulled)
    }

    /// The same, whatever the registry sends: containerd breaks off each of several ranges where the next one
    /// begins, with more of it on the way.
    ///
    /// # Errors
    /// When the pull fails, or the fault did not happen.
    pub fn survive(&mut self, fault: &str) -> Result<Pulled> {
        let faulty = self.start_faulty(fault)?;
        let pulled = self.pull(fails_at_first(fault))?;
        ensure!(
            fault == NO_FAULT || faulty.misbehaved(),
            "the faulty peer was not asked for the layer"
        );
        let whole = self.image.bytes();
        if HALF_WAY.contains(&fault) {
            let peer = node(&self.bed, FAULTY)?.host.address;
            let agent = self.puller()?.agent.as_ref().context("no agent")?;
            let received = agent.received()?.get(&peer).copied().unwrap_or_default();
            ensure!(
                received > whole / 4,
                "the faulty peer gave {received} of {whole} bytes"
            );
        }
        if fails_at_first(fault) {
            self.wait_quarantine()?;
        }
        self.claim(faulty.holder, &[])?;
        self.forget()?;
        Ok(pulled)
    }

    /// The most that the registry may have to give, in bytes: what nobody else has.
    fn most_of_registry(&self, fault: &str, others: Others) -> u64 {
        let whole = self.image.bytes();
        let spare = whole / 20;
        let share = match (others, fault) {
            // Of two senders nobody knows who lied, so that neither is asked again.
            (Others::Second, WRONG_THEN_FIN) => whole,
            (Others::Second, _) => 0,
            // The rest of the first pull, and all of the retry.
            (Others::Nobody, WRONG_THEN_FIN) => whole + whole / 4,
            // A reset takes with it what the peer's socket still held.
            (Others::Nobody, _) if HALF_WAY.contains(&fault) => whole / 2 + spare,
            (Others::Nobody, _) => whole,
        };
        share + spare
    }

    /// Waits until the puller's agent has counted a quarantine.
    fn wait_quarantine(&self) -> Result<()> {
        let agent = self.puller()?.agent.as_ref().context("no agent")?;
        wait_until("the liar to be found out", CALL, || {
            let metrics = agent.admin("/metrics")?.text();
            let objects = metrics.lines().find_map(|line| {
                line.strip_prefix("piccolo_agent_quarantines_total{scope=\"object\"} ")
            });
            Ok(objects.is_some_and(|count| count != "0").then_some(()))
        })
    }

    fn restart(&mut self, number: usize, arguments: &[&str]) -> Result<()> {
        self.bed.start_agent(number, arguments)?;
        let node = self.bed.nodes.get_mut(number).context("no such node")?;
        node.agent.as_mut().map_or(Ok(()), Agent::wait_ready)
    }
}

impl Faulty {
    /// Whether it did something wrong by now.
    pub fn misbehaved(&self) -> bool {
        self.process.log().contains("misbehaves")
    }

    /// Whether it did so when it was asked for a layer from some byte on.
    fn misbehaved_within(&self) -> bool {
        let log = self.process.log();
        let starts = log
            .lines()
            .filter_map(|line| line.strip_prefix("misbehaves at "));
        starts.into_iter().any(|part| !part.starts_with("0-"))
    }
}

/// Posts JSON from inside a namespace and wants status 201.
fn post(netns: &Netns, to: SocketAddr, path: &str, body: &str) -> Result<()> {
    let mut stream = netns.connect(to, CALL)?;
    stream.set_read_timeout(Some(CALL))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    ensure!(reply.starts_with("HTTP/1.1 201 "), "POST {path}: {reply}");
    Ok(())
}
