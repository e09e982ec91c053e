//! Piccolo is upgraded while the cluster pulls: the agents one by one, then a server of two. No
//! pull fails, and no find goes without an answer. And where a server or the database is killed, no
//! pull fails either.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use system_tests::{PULL, node};
use testbed::{
    Agent, Bed, BedSetup, Certified, Cri, Host, Image, ImageSpec, Layer, Packing, Plan, Product,
    Rate, Release, Run, Server, SqlServer, wait_until,
};

const IMAGES: [&str; 3] = ["lib/red:v1", "lib/green:v1", "lib/blue:v1"];
const SOON: Duration = Duration::from_mins(1);
/// Each node pulls at least so often while one program is restarted.
const MEANWHILE: usize = 2;

#[test]
fn agents_one_by_one_under_a_pull_storm() -> Result<()> {
    let mut bed = start(&[2, 1])?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    let storm = Storm::prepare(&bed)?;
    storm.rage(&mut bed, |bed, pulled| {
        for number in 0..bed.nodes.len() {
            pulled()?;
            let old = bed
                .nodes
                .get_mut(number)
                .context("no such node")?
                .agent
                .take();
            old.context("no agent")?.stop()?;
            pulled()?;
            bed.start_agent(number, &[])?;
            let node = bed.nodes.get_mut(number).context("no such node")?;
            node.agent.as_mut().context("no agent")?.wait_ready()?;
        }
        pulled()
    })?;
    let from_peers = count(&bed, "piccolo_agent_mirror_bytes_total{source=\"peer\"}")?;
    assert!(from_peers > 0, "nothing came from peers after the upgrade");
    Ok(())
}

#[test]
fn a_server_of_two_under_a_pull_storm() -> Result<()> {
    let (mut bed, mut pair) = start_over_two_servers()?;
    let storm = Storm::prepare(&bed)?;
    let before = count(&bed, "piccolo_agent_finds_total{outcome=\"found\"}")?;
    storm.rage(&mut bed, |bed, pulled| {
        for _ in 0..2 {
            pulled()?;
            pair.take()?.stop()?;
            pulled()?;
            pair.start_again(bed)?;
        }
        pulled()
    })?;
    let after = count(&bed, "piccolo_agent_finds_total{outcome=\"found\"}")?;
    assert!(after > before, "nobody asked meanwhile");
    let failed = count(&bed, "piccolo_agent_finds_total{outcome=\"no_server\"}")?;
    assert_eq!(failed, 0, "finds without an answer");
    Ok(())
}

#[test]
fn a_killed_server_and_a_killed_database_under_a_pull_storm() -> Result<()> {
    let (mut bed, mut pair) = start_over_two_servers()?;
    let storm = Storm::prepare(&bed)?;
    storm.rage(&mut bed, |bed, pulled| {
        pulled()?;
        drop(pair.take()?);
        pulled()?;
        pair.start_again(bed)?;
        pair.database.kill();
        pulled()?;
        pair.database.resume()?;
        let found = || count(bed, "piccolo_agent_finds_total{outcome=\"found\"}");
        let before = found()?;
        wait_until("somebody to be found again", SOON, || {
            Ok((found()? > before).then_some(()))
        })?;
        pulled()
    })
}

/// From no TLS to TLS on every call of a server, and back.
#[test]
fn tls_is_turned_on_and_off_under_a_pull_storm() -> Result<()> {
    let mut bed = start(&[2, 1])?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    let certified = Certified::by_pki(&bed)?;
    let storm = Storm::prepare(&bed)?;
    storm.rage(&mut bed, |bed, pulled| {
        pulled()?;
        certified.server(bed, "permissive", &[])?;
        certified.agents(bed, "permissive", &[])?;
        pulled()?;
        certified.agents(bed, "required", &[])?;
        certified.server(bed, "required", &[])?;
        let found = || count(bed, "piccolo_agent_finds_total{outcome=\"found\"}");
        let before = found()?;
        wait_until("somebody to be found over TLS", SOON, || {
            Ok((found()? > before).then_some(()))
        })?;
        let plain = count(bed, "piccolo_tls_dialled_total{outcome=\"plain\"}")?;
        ensure!(plain == 0, "{plain} calls were plain");
        pulled()?;
        certified.server(bed, "permissive", &[])?;
        certified.agents(bed, "permissive", &[])?;
        pulled()?;
        certified.server(bed, "off", &[])?;
        certified.agents(bed, "off", &[])?;
        pulled()
    })?;
    let found = count(&bed, "piccolo_agent_finds_total{outcome=\"found\"}")?;
    ensure!(found > 0, "nobody was found when TLS was off again");
    Ok(())
}

/// Two servers over one database, the older one first.
struct Pair {
    run: Run,
    database: SqlServer,
    servers: VecDeque<(Host, Server)>,
    /// Where the one was that was taken.
    free: Option<Host>,
}

impl Pair {
    fn serve(&mut self, host: Host) -> Result<()> {
        // The servers' namespaces do not reach a loopback port of the machine.
        let socket = self.database.execute("SELECT @@socket")?;
        let url = format!("mysql://root@localhost/piccolo?socket={}", socket.trim());
        let server = Server::start_over(&self.run, &host, &url, &[])?;
        self.servers.push_back((host, server));
        Ok(())
    }

    /// The older one, to be ended.
    fn take(&mut self) -> Result<Server> {
        let (host, server) = self.servers.pop_front().context("no server")?;
        self.free = Some(host);
        Ok(server)
    }

    /// Starts the one that was taken, and waits until it is asked again.
    fn start_again(&mut self, bed: &Bed) -> Result<()> {
        let host = self.free.take().context("none was taken")?;
        self.serve(host)?;
        // What minReadySeconds is for.
        wait_until("the agents to see that it is back", SOON, || {
            let left_alone = count(bed, "piccolo_agent_server_breaker_open{")?;
            Ok((left_alone == 0).then_some(()))
        })
    }
}

/// A bed whose agents ask either of two servers.
fn start_over_two_servers() -> Result<(Bed, Pair)> {
    let mut bed = start(&[2, 1])?;
    let database = SqlServer::start(Product::MariaDb)?;
    database.execute("CREATE DATABASE piccolo")?;
    let mut pair = Pair {
        run: bed.run().clone(),
        database,
        servers: VecDeque::new(),
        free: None,
    };
    for name in ["server-a", "server-b"] {
        pair.serve(bed.network().add_core_host(name, None)?)?;
    }
    let urls: Vec<_> = pair
        .servers
        .iter()
        .map(|(_, server)| server.url())
        .collect();
    bed.use_servers(&urls);
    bed.start_agents(&[])?;
    Ok((bed, pair))
}

/// Links that are slow enough for a restart to meet transfers in flight.
fn start(racks: &[u8]) -> Result<Bed> {
    let plan = Plan {
        node: Some(Rate::megabits(200)),
        ..Plan::unshaped(racks)
    };
    let release = Release::V1_7;
    let bed = Bed::start(Run::start()?, &BedSetup { plan, release })?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    Ok(bed)
}

/// Every node pulls one image after the other, over and over.
struct Storm {
    clients: Vec<Cri>,
}

impl Storm {
    /// Has the first node share all images.
    fn prepare(bed: &Bed) -> Result<Self> {
        let first = node(bed, 0)?.containerd.cri();
        for name in IMAGES {
            bed.registry.push(&image(name)?, name)?;
            first.pull(&Bed::image_name(name), PULL)?;
        }
        let clients = bed.nodes.iter().map(|node| node.containerd.cri());
        Ok(Self {
            clients: clients.collect(),
        })
    }

    /// Goes on for as long as `work` does, which is given a way to wait until every node has
    /// pulled a few times more. Not one pull may fail.
    fn rage(
        &self,
        bed: &mut Bed,
        work: impl FnOnce(&mut Bed, &dyn Fn() -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let over = AtomicBool::new(false);
        let counts: Vec<_> = self.clients.iter().map(|_| AtomicUsize::new(0)).collect();
        let pulled = || {
            let so_far = || counts.iter().map(|count| count.load(Ordering::Relaxed));
            let before: Vec<_> = so_far().collect();
            wait_until("every node to pull", SOON, || {
                // A storm that has ended is one that failed; its own error says more.
                ensure!(!over.load(Ordering::Relaxed), "a pull failed");
                let done = so_far()
                    .zip(&before)
                    .all(|(now, before)| now >= before + MEANWHILE);
                Ok(done.then_some(()))
            })
        };
        thread::scope(|scope| {
            let nodes: Vec<_> = self
                .clients
                .iter()
                .zip(&counts)
                .map(|(client, count)| {
                    let over = &over;
                    scope.spawn(move || {
                        pull_until(client, over, count)
                            .inspect_err(|_| over.store(true, Ordering::Relaxed))
                    })
                })
                .collect();
            let worked = work(bed, &pulled);
            over.store(true, Ordering::Relaxed);
            for node in nodes {
                node.join()
                    .map_err(|_panic| anyhow!("a puller panicked"))??;
            }
            worked
        })
    }
}

/// Removes each image again, so that the next round pulls it anew.
fn pull_until(client: &Cri, over: &AtomicBool, count: &AtomicUsize) -> Result<()> {
    for name in IMAGES.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let name = Bed::image_name(name);
        client.remove(&name)?;
        client.pull(&name, PULL)?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn image(name: &str) -> Result<Image> {
    let layer = |kibibytes| Layer {
        kibibytes,
        packing: Packing::Tar,
    };
    ImageSpec {
        layers: vec![layer(6 << 10), layer(2 << 10)],
        ..ImageSpec::small(name)
    }
    .build()
}

/// The sum over all agents of the series that begin like this.
fn count(bed: &Bed, series: &str) -> Result<u64> {
    let mut sum = 0;
    for node in &bed.nodes {
        let agent = node.agent.as_ref().context("a node without an agent")?;
        let page = agent.admin("/metrics")?.text();
        for line in page.lines().filter(|line| line.starts_with(series)) {
            let value = line.rsplit(' ').next().unwrap_or_default();
            sum += value
                .parse::<u64>()
                .with_context(|| format!("the value of {line}"))?;
        }
    }
    Ok(sum)
}
