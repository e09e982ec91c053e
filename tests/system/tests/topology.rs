//! The ranking on a real network: eight nodes in four racks, and one link between two of them that
//! carries a tenth of what the topology file lets expect.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use system_tests::{node, pull};
use testbed::{
    Agent, Bed, BedSetup, Image, ImageSpec, Layer, Packing, Plan, Rate, Release, Run, wait_until,
};

/// Of every node, and so the fastest that any path is.
const LINK: Rate = Rate::megabits(200);
/// From rack 3 to rack 2, once it is slowed down.
const SLOW: Rate = Rate::megabits(20);
const HALF_LIFE: Duration = Duration::from_mins(1);
const IMAGES: usize = 28;
/// Places of nodes in the bed: two in each of the racks 1 to 4.
const ASKING: usize = 2;
const SLOW_SIDE: usize = 4;
const FAST_SIDE: usize = 6;

/// It has a say in nothing but the ranking: the slow link is not in it. The common prefix counts
/// for more than usual, so that rack 3 is the first choice for rack 2 as long as nothing speaks
/// against it; slow paths are tried again at every second find, so that the test need not wait for
/// a rare one.
fn file(bandwidth: f64) -> String {
    format!(
        "defaults: {{host_link: 200Mbit}}\n\
         ranking:\n  \
           weights: {{prefix: 0.5, tree: 0, bandwidth: {bandwidth}, load: 0}}\n  \
           tier_width: 0.01\n  remote_share: 0\n  probe_share: 0.5\n  \
           half_life: {}s\n  prior_weight: 0.5\n  smallest_sample: 256KiB\n",
        HALF_LIFE.as_secs()
    )
}

struct Lab {
    bed: Bed,
    images: Vec<(String, Image)>,
    next: usize,
    topology: PathBuf,
}

impl Lab {
    /// A bed in which a node on the slow side and one on the fast side have all images.
    fn start() -> Result<Self> {
        let plan = Plan {
            node: Some(LINK),
            ..Plan::unshaped(&[2, 2, 2, 2])
        };
        let setup = BedSetup {
            plan,
            release: Release::Installed,
        };
        let mut bed = Bed::start(Run::start()?, &setup)?;
        let topology = bed.run().directory().join("topology.yaml");
        fs::write(&topology, file(0.5))?;
        let flag = format!("--topology={}", topology.display());
        bed.start_server(&[&flag])?;
        bed.start_agents(&[])?;
        bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
        let mut images = Vec::new();
        for number in 0..IMAGES {
            let name = format!("lib/round{number}:v1");
            let image = image(number)?;
            bed.registry.push(&image, &name)?;
            for holder in [FAST_SIDE, SLOW_SIDE] {
                pull(node(&bed, holder)?, &name)?;
            }
            images.push((name, image));
        }
        let lab = Self {
            bed,
            images,
            next: 0,
            topology,
        };
        lab.wait_until_shared()?;
        Ok(lab)
    }

    fn wait_until_shared(&self) -> Result<()> {
        for (_, image) in &self.images {
            wait_until("both holders of an image", Duration::from_secs(30), || {
                for blob in image.native_blobs() {
                    if self
                        .bed
                        .server
                        .as_ref()
                        .context("no server")?
                        .holders(Bed::group(), &blob.digest)?
                        < 2
                    {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    fn address(&self, number: usize) -> Result<IpAddr> {
        Ok(node(&self.bed, number)?.host.address)
    }

    /// Bytes that the asking node has received from that one.
    fn received(&self, from: usize) -> Result<u64> {
        let agent = node(&self.bed, ASKING)?
            .agent
            .as_ref()
            .context("no agent")?;
        let address = self.address(from)?;
        Ok(agent.received()?.get(&address).copied().unwrap_or_default())
    }

    /// Pulls an image that the asking node has not; gives the bytes from the slow and from the fast
    /// side, and the time it took.
    fn pull(&mut self) -> Result<(u64, u64, Duration)> {
        let (name, _) = self.images.get(self.next).context("no images are left")?;
        self.next += 1;
        let before = (self.received(SLOW_SIDE)?, self.received(FAST_SIDE)?);
        let begin = Instant::now();
        pull(node(&self.bed, ASKING)?, name)?;
        let took = begin.elapsed();
        let slow = self.received(SLOW_SIDE)? - before.0;
        let fast = self.received(FAST_SIDE)? - before.1;
        Ok((slow, fast, took))
    }

    fn json(&self, target: &str) -> Result<serde_json::Value> {
        let answer = self.bed.server.as_ref().context("no server")?.api(target)?;
        ensure!(answer.status == 200, "{target}: {}", answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// The scores of the slow and of the fast side for the asking node, probes or not.
    fn scores(&self) -> Result<(f64, f64)> {
        let ip = self.address(ASKING)?;
        let (slow, fast) = (self.address(SLOW_SIDE)?, self.address(FAST_SIDE)?);
        let explained = self.json(&format!(
            "/api/v1/explain?request_host={ip}&to={slow},{fast}"
        ))?;
        let candidates = explained["candidates"].as_array().context("no list")?;
        let score = |ip: IpAddr| {
            let holder = format!("{ip}:7787");
            let of = candidates.iter().find(|c| c["holder"] == holder.as_str());
            of.and_then(|c| c["score"].as_f64())
                .with_context(|| format!("{ip} is not in {explained}"))
        };
        Ok((score(slow)?, score(fast)?))
    }

    fn avoids_the_slow_link(&self) -> Result<bool> {
        let (slow, fast) = self.scores()?;
        Ok(fast > slow + 0.01)
    }

    /// Pulls until the ranking has learned, within a number of pulls.
    fn pull_until(&mut self, avoids: bool, pulls: usize) -> Result<()> {
        for _ in 0..pulls {
            if self.avoids_the_slow_link()? == avoids {
                return Ok(());
            }
            self.pull()?;
            // The agent reports with the advertisement of what it has got.
            let _ = wait_until("the report", Duration::from_secs(3), || {
                Ok((self.avoids_the_slow_link()? == avoids).then_some(()))
            });
        }
        ensure!(
            self.avoids_the_slow_link()? == avoids,
            "after {pulls} pulls the scores of slow and fast are {:?}, of {}",
            self.scores()?,
            self.json("/api/v1/bandwidth")?
        );
        Ok(())
    }

    fn put_file(&self, bandwidth: f64) -> Result<()> {
        fs::write(&self.topology, file(bandwidth))?;
        wait_until("the new file", Duration::from_secs(5), || {
            let ranking = self.json("/api/v1/topology")?;
            let weight = ranking["ranking"]["weights"]["bandwidth"].as_f64();
            Ok((weight == Some(bandwidth)).then_some(()))
        })
    }
}

/// One layer, too long to be passed on from memory.
fn image(number: usize) -> Result<Image> {
    ImageSpec {
        layers: vec![Layer {
            kibibytes: 6 << 10,
            packing: Packing::Tar,
        }],
        ..ImageSpec::small(&format!("round{number}"))
    }
    .build()
}

#[test]
fn a_slow_link_is_avoided_and_comes_back() -> Result<()> {
    let mut lab = Lab::start()?;
    let (slow, fast) = lab.scores()?;
    ensure!(slow > fast, "rack 3 has the nearer prefix: {slow} {fast}");
    lab.bed.network().shape_pair(3, 2, Some(SLOW))?;

    lab.pull_until(true, 4)?;
    // Half of the finds probe, so that a single pull may still try the slow side.
    let mut fast_pulls = 0;
    let mut with = Duration::MAX;
    for _ in 0..4 {
        let (slow, fast, took) = lab.pull()?;
        if fast > slow {
            fast_pulls += 1;
            with = with.min(took);
        }
    }
    ensure!(fast_pulls > 0, "no pull went the fast way");

    lab.put_file(0.0)?;
    let (slow, fast, without) = lab.pull()?;
    ensure!(
        slow > fast,
        "with no weight the nearer prefix wins: {slow} bytes and {fast}"
    );
    report(&format!(
        "one pull: {with:.2?} by the bandwidth that was observed, {without:.2?} with weight 0"
    ));

    lab.put_file(0.5)?;
    ensure!(
        lab.avoids_the_slow_link()?,
        "what was learned outlives a reload"
    );
    lab.bed.network().shape_pair(3, 2, None)?;
    let begin = Instant::now();
    lab.pull_until(false, 18)?;
    ensure!(
        begin.elapsed() < HALF_LIFE,
        "it came back after {:?} only",
        begin.elapsed()
    );
    report(&format!(
        "the mended link came back after {:.1?}",
        begin.elapsed()
    ));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the times are what the test shows")]
fn report(line: &str) {
    eprintln!("{line}");
}
