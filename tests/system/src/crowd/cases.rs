//! The crowds that `cargo xtask bench crowd` measures, each beside what it is compared with.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use testbed::Release;

use super::{Crowd, CrowdSetup, DEADLINE, Links, ON, Pulled, Servers};

/// Where the registry binds.
const REGISTRY_BINDS: Links = Links {
    node: 150,
    uplink: 200,
    registry: 50,
};
/// Where the nodes' links bind.
const NIC_BINDS: Links = Links {
    node: 60,
    uplink: 200,
    registry: 200,
};
/// From how many of another rack's four nodes a gateway takes where it takes from several.
const STRIPES: u8 = 2;
const AT_ONCE: Duration = Duration::ZERO;
/// containerd 2 fetches a layer by several open-ended ranges then.
const PARALLEL: &str = r#"
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_downloads = 3
concurrent_layer_fetch_buffer = 8388608
"#;

/// A containerd, and how it fetches.
#[derive(Clone, Copy, Debug)]
pub struct Puller {
    name: &'static str,
    release: Release,
    settings: &'static str,
}

/// All of them.
pub const PULLERS: [Puller; 4] = [
    puller("1.6", Release::Installed, ""),
    puller("1.7", Release::V1_7, ""),
    puller("2.1", Release::V2, ""),
    puller("2.1 by ranges", Release::V2, PARALLEL),
];

const fn puller(name: &'static str, release: Release, settings: &'static str) -> Puller {
    Puller {
        name,
        release,
        settings,
    }
}

/// What a crowd came to beside what it is compared with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// The crowd.
    pub case: String,
    /// The containerd.
    pub puller: String,
    /// Copies of the image that the registry sent.
    pub registry_copies: f64,
    /// The most copies that came into one rack.
    pub copies_into_rack: f64,
    /// The compared pull's time over the crowd's median: 1 is as fast.
    pub p50_of_reference: f64,
    /// The longest pull over the median.
    pub longest_over_p50: f64,
    /// The compared pull, in seconds.
    pub reference_seconds: f64,
}

/// What runs a case.
type Run = fn(&Bench<'_>) -> Result<Row>;

/// The cases by name.
pub const CASES: [(&str, Run); 9] = [
    ("cold", |bench| {
        bench.cold((REGISTRY_BINDS, 1), &[128], AT_ONCE)
    }),
    ("layers", |bench| {
        bench.cold((REGISTRY_BINDS, 1), &SIX, AT_ONCE)
    }),
    ("nic", |bench| bench.cold((NIC_BINDS, 1), &[128], AT_ONCE)),
    ("nic-striped", |bench| {
        bench.cold((NIC_BINDS, STRIPES), &[128], AT_ONCE)
    }),
    ("arrivals", |bench| {
        bench.cold((REGISTRY_BINDS, 1), &[128], Duration::from_secs(20))
    }),
    ("warm", |bench| bench.warm(11)),
    ("few", |bench| bench.few(3)),
    ("pair", |bench| bench.few(1)),
    ("alone", |bench| bench.alone()),
];
const SIX: [u32; 6] = [48, 32, 24, 16, 6, 2];

/// The bed of the bench, and its size.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// The case's name.
    pub case: &'a str,
    /// The containerd of every node.
    pub puller: Puller,
    /// The racks.
    pub racks: &'a [u8],
}

impl Bench<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// When there is no such case, or a pull fails.
    pub fn run(&self) -> Result<Row> {
        let found = CASES.iter().find(|(name, _)| *name == self.case);
        let (_, run) = found.with_context(|| format!("no case is called {}", self.case))?;
        run(self).with_context(|| format!("{} with containerd {}", self.case, self.puller.name))
    }

    fn start(&self, links: Links, stripes: u8, agents: &[&str]) -> Result<Crowd> {
        let mut crowd = Crowd::start(&CrowdSetup {
            release: self.puller.release,
            settings: self.puller.settings,
            racks: self.racks,
            links,
            agents,
            stripes,
            servers: Servers::One,
            deadline: DEADLINE,
        })?;
        crowd.bed.network().use_cubic()?;
        Ok(crowd)
    }

    fn row(&self, reference: f64, pulled: &Pulled) -> Row {
        let median = pulled.median();
        Row {
            case: self.case.to_owned(),
            puller: self.puller.name.to_owned(),
            registry_copies: pulled.registry_copies,
            copies_into_rack: pulled.into_rack(),
            p50_of_reference: reference / median,
            longest_over_p50: pulled.longest() / median,
            reference_seconds: reference,
        }
    }

    /// Nobody has it; compared with one node that pulls from the idle registry.
    fn cold(&self, (links, stripes): (Links, u8), layers: &[u32], spread: Duration) -> Result<Row> {
        let crowd = self.start(links, stripes, &[ON])?;
        let reference = solo(&crowd, layers)?;
        let image = crowd.push("crowd", layers)?;
        let pulled = crowd.pull(&image, &crowd.all(), spread)?;
        Ok(self.row(reference, &pulled))
    }

    /// One node has it; compared with one pull from that node.
    fn warm(&self, askers: usize) -> Result<Row> {
        let crowd = self.start(NIC_BINDS, 1, &[ON])?;
        let reference = from_holder(&crowd, "solo", &[1])?.median();
        let pulled = from_holder(&crowd, "crowd", &crowd.all()[1..=askers])?;
        Ok(self.row(reference, &pulled))
    }

    /// One node has it, and few ask; compared with the same without the swarm.
    fn few(&self, askers: usize) -> Result<Row> {
        let nodes: Vec<_> = (1..=askers).collect();
        let off = self.start(NIC_BINDS, 1, &["--swarm=off"])?;
        let reference = from_holder(&off, "crowd", &nodes)?.median();
        drop(off);
        let crowd = self.start(NIC_BINDS, 1, &[ON])?;
        let pulled = from_holder(&crowd, "crowd", &nodes)?;
        Ok(self.row(reference, &pulled))
    }

    /// One node, and nobody has it; compared with the registry alone.
    fn alone(&self) -> Result<Row> {
        let crowd = self.start(REGISTRY_BINDS, 1, &[ON])?;
        let reference = solo(&crowd, &[128])?;
        let image = crowd.push("crowd", &[128])?;
        let pulled = crowd.pull(&image, &[0], AT_ONCE)?;
        Ok(self.row(reference, &pulled))
    }
}

/// Seconds of one node's pull without Piccolo.
fn solo(crowd: &Crowd, layers: &[u32]) -> Result<f64> {
    let image = crowd.push("solo", layers)?;
    crowd.use_piccolo(false)?;
    let pulled = crowd.pull(&image, &[0], AT_ONCE)?;
    crowd.use_piccolo(true)?;
    crowd.forget(&image)?;
    Ok(pulled.median())
}

/// Lets the first node have an image, and others pull it then.
fn from_holder(crowd: &Crowd, name: &str, askers: &[usize]) -> Result<Pulled> {
    let image = crowd.push(name, &[128])?;
    crowd.pull(&image, &[0], AT_ONCE)?;
    crowd.bed.wait_until_shared(&image)?;
    let pulled = crowd.pull(&image, askers, AT_ONCE)?;
    crowd.forget(&image)?;
    Ok(pulled)
}
