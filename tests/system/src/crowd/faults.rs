//! Faults in the middle of a crowd's pulls, by a seeded plan.

mod kinds;
mod strikes;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    ops::Range,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use serde::Serialize;
use testbed::{Agent, Gate, Image, Release, SmallDisk, wait_until};

pub use self::kinds::Fault;
use self::{
    kinds::{ALL, Place},
    strikes::Damage,
};
use super::{Crowd, CrowdSetup, DEADLINE, Links, ON, Pulled, Servers};
use crate::faults::soak;

/// What every agent is told: the log of a failed run says what happened.
const AGENT: &[&str] = &[ON, "--log=info,pi_agent=debug"];
/// Half of the nodes' links bind nothing: the registry does.
const LINKS: Links = Links {
    node: 120,
    uplink: 160,
    registry: 40,
};
const RACKS: [u8; 2] = [3, 3];
/// Layers of the images, in MiB: 16 in all.
const LAYERS: [u32; 2] = [12, 4];
/// Images that take turns: what is known of an earlier one has gone by then.
const IMAGES: usize = 4;
/// Milliseconds after the pulls' begin between which faults happen; a pull takes some 3.4 s.
const MOMENTS: Range<u64> = 200..3000;
/// How long the state of a crowd may live after it: an agent that died is forgotten after 90 s, a crowd
/// 15 s after the last who wanted the key.
const SETTLED: Duration = Duration::from_secs(150);
/// Whom the registry sent this part of a copy it has served.
const SERVED: f64 = 0.02;
/// How much of a copy manifests, configurations and what was in flight may be.
const SPARE: f64 = 0.15;
/// The disk of each node's content, in MiB: agents keep open for half a minute what they followed, so what was
/// removed of the runs before takes room.
const DISK: u32 = 128;
/// What an agent says of a peer whose bytes are wrong, and the server of a maker of false chunk lists.
const WRONG: &str = "it sent a wrong chunk";
const FALSE_LIST: &str = "list was false";

/// Whom it strikes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Victim {
    /// The node whose containerd the registry serves then.
    FirstFetcher,
    /// This node.
    Node(usize),
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Planned {
    /// What goes wrong.
    pub fault: Fault,
    /// Where.
    pub victim: Victim,
    /// How long after the pulls' begin.
    pub at: Duration,
}

/// A fault that has struck.
#[derive(Clone, Copy, Debug)]
struct Felt {
    fault: Fault,
    victim: usize,
    /// Whether the registry served the victim.
    asked: bool,
}

impl Felt {
    fn new((fault, victim): (Fault, usize), pulled: &Pulled) -> Self {
        let copies = pulled.to_nodes.get(&victim).copied().unwrap_or(0.0);
        Self {
            fault,
            victim,
            asked: copies >= SERVED,
        }
    }

    /// Copies that it may cost.
    fn costs(&self) -> f64 {
        self.fault.costs(self.asked)
    }

    fn name(&self) -> String {
        let Self { fault, asked, .. } = self;
        let whom = if *asked {
            "who asks the registry"
        } else {
            "another"
        };
        format!("{fault:?} of {whom}")
    }
}

/// Those that nothing struck, with the seconds of their pulls.
fn others(seconds: &BTreeMap<usize, f64>, struck: &[Felt]) -> impl Iterator<Item = (usize, f64)> {
    let is_victim = |node: &usize| struck.iter().any(|felt| felt.victim == *node);
    let all = seconds.iter().map(|(node, seconds)| (*node, *seconds));
    all.filter(move |(node, _)| !is_victim(node))
}

/// What a kind of fault cost where it was the only one of its run, at most.
#[derive(Debug, Default, Serialize)]
pub struct Alone {
    /// Crowds.
    pub runs: u32,
    /// Copies from the registry.
    pub copies: f64,
    /// The longest pull of those that were not struck, times the longest without a fault.
    pub times: f64,
}

/// What many crowds with faults came to.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// Crowds.
    pub runs: u32,
    /// Faults by their kind.
    pub faults: BTreeMap<Fault, u32>,
    /// Pulls that had to succeed, and did.
    pub pulls: u32,
    /// The most copies that the registry sent in one run.
    pub most_copies: f64,
    /// The longest pull, in seconds.
    pub longest: f64,
    /// What each kind cost.
    pub alone: BTreeMap<String, Alone>,
}

/// The faults of one crowd: one, or two or three mixed.
pub fn plan(seed: u64) -> Vec<Planned> {
    let mut random = Rng::with_seed(seed);
    let count = *random.choice(&[1, 1, 2, 3]).unwrap_or(&1);
    let nodes: usize = RACKS.iter().copied().map(usize::from).sum();
    // Each kind has its turn, and meets any other.
    let turn = usize::try_from(seed).unwrap_or_default() % ALL.len();
    let mut plan: Vec<_> = (0..count)
        .map(|number| Planned {
            fault: ALL[if number == 0 {
                turn
            } else {
                random.usize(..ALL.len())
            }],
            victim: if random.bool() {
                Victim::FirstFetcher
            } else {
                Victim::Node(random.usize(..nodes))
            },
            at: Duration::from_millis(random.u64(MOMENTS)),
        })
        .collect();
    plan.sort_by_key(|planned| planned.at);
    plan
}

/// Runs a crowd for each seed from `first` on.
///
/// # Errors
/// When a pull fails that the registry alone would have served, too many copies come from the
/// registry, or something is left behind. The error names the seed and its plan.
pub fn run(release: Release, first: u64, runs: u32) -> Result<Found> {
    let mut lab = Lab::start(release)?;
    let mut found = Found::default();
    for seed in (first..).take(usize::try_from(runs)?) {
        let plan = plan(seed);
        lab.one(seed, &plan, &mut found)
            .with_context(|| format!("seed {seed} with {plan:?}"))?;
    }
    lab.settle()?;
    Ok(found)
}

/// A crowd that things happen to.
struct Lab {
    crowd: Crowd,
    /// Nodes reach the registry through it.
    gate: Gate,
    /// Of each node's content.
    disks: Vec<SmallDisk>,
    /// What is damaged now, by the node.
    damages: BTreeMap<usize, Damage>,
    usages: Vec<(u32, usize)>,
    /// Seconds of the longest pull without a fault.
    undisturbed: f64,
}

impl Lab {
    fn start(release: Release) -> Result<Self> {
        let crowd = Crowd::start(&CrowdSetup {
            release,
            settings: "",
            racks: &RACKS,
            links: LINKS,
            agents: AGENT,
            stripes: 1,
            servers: Servers::OverMariaDb(1),
            deadline: DEADLINE,
        })?;
        let gate = crowd.bed.registry.open_gate()?;
        crowd.bed.set_hosts(&[Agent::mirror_url(), gate.url()])?;
        let mut lab = Self {
            crowd,
            gate,
            disks: Vec::new(),
            damages: BTreeMap::new(),
            usages: Vec::new(),
            undisturbed: 0.0,
        };
        lab.mount_disks()?;
        // What the programs keep for good is there after one crowd.
        let image = lab.crowd.push("faults-warm-up", &LAYERS)?;
        let pulled = lab.crowd.pull(&image, &lab.crowd.all(), Duration::ZERO)?;
        lab.undisturbed = pulled.longest();
        lab.crowd.forget(&image)?;
        lab.usages = lab.usages_now()?;
        Ok(lab)
    }

    /// Gives each node's content a disk of its own.
    fn mount_disks(&mut self) -> Result<()> {
        for number in 0..self.crowd.bed.nodes.len() {
            let node = self.node_mut(number)?;
            node.agent = None;
            node.containerd.stop()?;
            let disk = SmallDisk::mount(&node.containerd.content(), DISK)?;
            node.containerd.start()?;
            self.disks.push(disk);
        }
        self.crowd.bed.start_agents(AGENT)
    }

    /// The image of a run, pushed in place of the one before.
    fn image(&self, seed: u64) -> Result<Image> {
        let number = usize::try_from(seed)? % IMAGES;
        self.crowd.push(&format!("faults-{number}"), &LAYERS)
    }

    fn one(&mut self, seed: u64, plan: &[Planned], found: &mut Found) -> Result<()> {
        let image = self.image(seed)?;
        let permits = self.crowd.permits();
        let logged = self.logs()?;
        let pulls = self
            .crowd
            .begin(&image, &self.crowd.all(), Duration::ZERO)?;
        let struck = self.play(plan, &permits)?;
        let pulled = self.crowd.finish(pulls)?;
        let struck: Vec<_> = struck
            .into_iter()
            .map(|struck| Felt::new(struck, &pulled))
            .collect();
        for (node, error) in &pulled.failed {
            let excused = struck
                .iter()
                .any(|felt| felt.fault.may_fail_pull() && felt.victim == *node);
            ensure!(excused, "the pull of node {node} failed: {error}");
        }
        writeln!(
            io::stderr(),
            "seed {seed}: {struck:?}, {:.2} copies, {:.1} s",
            pulled.registry_copies,
            pulled.longest()
        )?;
        let most = 1.0 + SPARE + struck.iter().map(Felt::costs).sum::<f64>();
        ensure!(
            pulled.registry_copies <= most,
            "{:.2} copies from the registry, {most:.2} at most should be: {:.2?}; logs in {}",
            pulled.registry_copies,
            pulled.to_nodes,
            self.keep_logs()?.display()
        );
        self.check_times(&pulled.seconds, &struck)?;
        self.check_blame(&logged, &struck)?;
        // A node that could not finish does now.
        let again: Vec<_> = pulled.failed.keys().copied().collect();
        self.crowd.pull(&image, &again, Duration::ZERO)?;
        for felt in &struck {
            if matches!(felt.fault, Fault::ContainerdKilled | Fault::NodeGone) {
                // The lease of the pull that died with it would keep the blobs for a day.
                let containerd = &mut self.node_mut(felt.victim)?.containerd;
                containerd.wipe()?;
                containerd.start()?;
            }
        }
        self.crowd.forget(&image)?;
        if let [felt] = struck[..] {
            let alone = found.alone.entry(felt.name()).or_default();
            alone.runs += 1;
            alone.copies = alone.copies.max(pulled.registry_copies);
            let others = others(&pulled.seconds, &struck);
            let longest = others.map(|(_, seconds)| seconds).fold(0.0, f64::max);
            alone.times = alone.times.max(longest / self.undisturbed);
        }
        for felt in struck {
            *found.faults.entry(felt.fault).or_default() += 1;
        }
        found.runs += 1;
        found.pulls += u32::try_from(pulled.seconds.len())?;
        found.most_copies = found.most_copies.max(pulled.registry_copies);
        found.longest = found.longest.max(pulled.longest());
        Ok(())
    }

    /// What a fault costs those that it does not strike.
    fn check_times(&self, seconds: &BTreeMap<usize, f64>, struck: &[Felt]) -> Result<()> {
        let more: f64 = struck.iter().map(|felt| felt.fault.delays()).sum();
        let most = 2.0 * self.undisturbed + more;
        for (node, seconds) in others(seconds, struck) {
            ensure!(
                seconds <= most,
                "the pull of node {node} took {seconds:.1} s, {most:.1} s at most should be; logs in {}",
                self.keep_logs()?.display()
            );
        }
        Ok(())
    }

    /// The agents' logs, by node, and the server's.
    fn logs(&self) -> Result<Vec<String>> {
        let numbers = 0..self.crowd.bed.nodes.len();
        let mut logs = numbers
            .map(|number| Ok(self.agent(number)?.process().log()))
            .collect::<Result<Vec<_>>>()?;
        logs.push(self.server()?.process().log());
        Ok(logs)
    }

    /// Who sent wrong bytes is the one that has them on its disk, and nobody behind it.
    fn check_blame(&self, before: &[String], struck: &[Felt]) -> Result<()> {
        let damaged = |felt: &Felt| {
            let host = &self.crowd.bed.nodes.get(felt.victim)?.host;
            (felt.fault == Fault::WrongByte).then(|| format!("peer={}:", host.address))
        };
        let damaged: Vec<_> = struck.iter().filter_map(damaged).collect();
        for (now, before) in self.logs()?.iter().zip(before) {
            let new = now.get(before.len()..).unwrap_or_default();
            for line in new.lines() {
                let is_named = || damaged.iter().any(|peer| line.contains(peer));
                ensure!(!line.contains(WRONG) || is_named(), "a liar: {line}");
                ensure!(!line.contains(FALSE_LIST), "{line}");
            }
        }
        Ok(())
    }

    /// Copies the programs' logs to where they outlive the bed.
    fn keep_logs(&self) -> Result<PathBuf> {
        let kept = env::temp_dir().join(format!("crowd-{}", std::process::id()));
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(self.crowd.bed.run().directory())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::copy(&path, kept.join(path.file_name().context("no name")?))?;
            }
        }
        Ok(kept)
    }

    /// Lets happen what is planned, and puts it right again; gives what happened, and to which node.
    fn play(&mut self, plan: &[Planned], permits: &[u64]) -> Result<Vec<(Fault, usize)>> {
        let begin = Instant::now();
        let mut planned = plan.iter().peekable();
        let mut repairs: BTreeMap<Duration, (Fault, usize)> = BTreeMap::new();
        let mut struck = Vec::new();
        let mut first = None;
        loop {
            let due = repairs.first_key_value().map(|(at, _)| *at);
            let next = planned.next_if(|fault| due.is_none_or(|due| fault.at < due));
            let Some(at) = next.map(|fault| fault.at).or(due) else {
                return Ok(struck);
            };
            thread::sleep(at.saturating_sub(begin.elapsed()));
            let Some(Planned { fault, victim, .. }) = next.copied() else {
                if let Some((_, (fault, node))) = repairs.pop_first() {
                    self.repair(fault, node)?;
                }
                continue;
            };
            if struck.is_empty() {
                // Later an agent that halts would keep this waiting.
                first = self.crowd.first_fetcher(permits);
            }
            let node = match victim {
                Victim::Node(number) => number,
                Victim::FirstFetcher => first.unwrap_or(0),
            };
            let broken: Vec<_> = repairs.values().map(|(_, node)| *node).collect();
            let Some(node) = self.victim(fault, node, permits, &broken)? else {
                continue;
            };
            let place = self.place(fault, node)?;
            // One thing breaks once at a time.
            let mut broken = repairs
                .values()
                .map(|(fault, node)| self.place(*fault, *node));
            if broken.any(|broken| broken.is_ok_and(|broken| broken == place)) {
                continue;
            }
            drop(broken);
            self.strike(fault, node)?;
            struck.push((fault, node));
            repairs.insert(begin.elapsed() + fault.lasts(), (fault, node));
        }
    }

    fn node_mut(&mut self, number: usize) -> Result<&mut testbed::Node> {
        self.crowd.bed.nodes.get_mut(number).context("no such node")
    }

    fn agent(&self, number: usize) -> Result<&Agent> {
        let node = crate::node(&self.crowd.bed, number)?;
        node.agent.as_ref().context("no agent")
    }

    fn server(&self) -> Result<&testbed::Server> {
        self.crowd.bed.server.as_ref().context("no server")
    }

    /// The number of a node's rack, from 1.
    fn rack(&self, number: usize) -> Result<u8> {
        let rack = &crate::node(&self.crowd.bed, number)?.host.rack;
        Ok(rack.trim_start_matches("rack").parse()?)
    }

    /// Descriptors of each node's agent, by its process.
    fn usages_now(&self) -> Result<Vec<(u32, usize)>> {
        let agents = self
            .crowd
            .bed
            .nodes
            .iter()
            .filter_map(|node| node.agent.as_ref());
        agents
            .map(|agent| Ok((agent.process().id(), soak::usage(agent)?.descriptors)))
            .collect()
    }

    /// Waits until nothing of the crowds is left.
    fn settle(&self) -> Result<()> {
        wait_until("the crowds' state to go", SETTLED, || {
            let page = self.server()?.metrics()?;
            let is_none = |name: &str| page.lines().any(|line| line == format!("{name} 0"));
            for name in ["piccolo_server_swarm_keys", "piccolo_server_swarm_permits"] {
                if !is_none(name) {
                    bail!("{name} is not 0");
                }
            }
            for (process, descriptors) in self.usages_now()? {
                let before = self.usages.iter().find(|(before, _)| *before == process);
                if let Some((_, before)) = before {
                    ensure!(
                        descriptors <= *before,
                        "{descriptors} descriptors, {before} before"
                    );
                }
            }
            Ok(Some(()))
        })?;
        for node in &self.crowd.bed.nodes {
            // A containerd that was wiped makes the directory with its first pull.
            let ingests = fs::read_dir(node.containerd.content().join("ingest"));
            let ingests = ingests.map_or(0, Iterator::count);
            ensure!(ingests == 0, "{ingests} ingests on {}", node.host.name);
        }
        Ok(())
    }
}
