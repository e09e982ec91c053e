//! A flash crowd: all nodes pull at the same moment what nobody has.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use system_tests::{
    APP, PULL,
    crowd::{
        Crowd, CrowdSetup, Links, ON, Pulled, Servers,
        disk::{arriving, damage},
    },
    node, on_each_release, pull,
};
use testbed::{Agent, Bed, Image, Rate, Release, wait_until};

on_each_release!(one_copy_from_the_registry_and_one_into_each_rack);

/// Copies that the registry may send.
const MOST: f64 = 1.05;
/// When the registry has given a part of it.
const MIDDLE: Duration = Duration::from_millis(1500);

/// Racks, with links as narrow as the machine moves bytes for all of them at once.
fn crowd(release: Release, racks: &[u8], agents: &[&str]) -> Result<Crowd> {
    crowd_of(release, racks, agents, Servers::One)
}

fn crowd_of(release: Release, racks: &[u8], agents: &[&str], servers: Servers) -> Result<Crowd> {
    Crowd::start(&CrowdSetup {
        release,
        settings: "",
        racks,
        links: Links {
            node: 150,
            uplink: 200,
            registry: 80,
        },
        agents,
        stripes: 1,
        servers,
        deadline: PULL,
    })
}

/// Pulls on all nodes at once.
fn pull_on_all(crowd: &Crowd, layers: &[u32]) -> Result<Pulled> {
    let image = crowd.push("crowd", layers)?;
    crowd.pull(&image, &crowd.all(), Duration::ZERO)
}

/// The same; in the middle of it something happens.
fn pull_while(
    crowd: &mut Crowd,
    layers: &[u32],
    happens: impl FnOnce(&mut Crowd) -> Result<()>,
) -> Result<Pulled> {
    let image = crowd.push("crowd", layers)?;
    let pulls = crowd.begin(&image, &crowd.all(), Duration::ZERO)?;
    thread::sleep(MIDDLE);
    happens(crowd)?;
    let pulled = crowd.finish(pulls)?;
    ensure!(pulled.failed.is_empty(), "{:?}", pulled.failed);
    Ok(pulled)
}

fn one_copy_from_the_registry_and_one_into_each_rack(release: Release) -> Result<()> {
    let crowd = crowd(release, &[3, 3], &[ON])?;
    let pulled = pull_on_all(&crowd, &[12, 12, 12])?;
    let copies = pulled.registry_copies;
    assert!(copies <= MOST, "{copies} copies from the registry");
    for (rack, copies) in &pulled.into_racks {
        assert!(
            *copies <= 1.2,
            "{copies} copies into {rack}: {:?}",
            pulled.into_racks
        );
    }
    Ok(())
}

/// Nodes ask their registry for manifests and configurations by digest as they do for layers.
#[test]
fn manifests_and_configurations_come_once_too() -> Result<()> {
    let crowd = crowd(Release::V1_7, &[4, 4], &[ON])?;
    let image = crowd.push("crowd", &[8])?;
    let before = crowd.bed.registry.access_log().len();
    crowd.pull(&image, &crowd.all(), Duration::ZERO)?;
    let log = crowd.bed.registry.access_log();
    let log = log
        .iter()
        .skip(before)
        .filter(|entry| entry.method == "GET");
    let asked: Vec<_> = log.map(|entry| entry.uri.as_str()).collect();
    for blob in image.native_blobs() {
        let times = asked.iter().filter(|uri| uri.contains(&blob.digest));
        let times = times.count();
        assert!(
            (1..=2).contains(&times),
            "{times} times {}: {asked:?}",
            blob.digest
        );
    }
    Ok(())
}

/// What a node's agent says of crowds.
fn crowd_status(node: &testbed::Node) -> Result<Value> {
    let mut status: Value = serde_json::from_str(&agent(node)?.admin("/status")?.text())?;
    Ok(status["swarm"].take())
}

/// The blobs that nodes get together with others, as their agents say.
fn in_flight(bed: &Bed) -> Result<Vec<Value>> {
    let mut blobs = Vec::new();
    for node in &bed.nodes {
        let status = crowd_status(node)?;
        assert_eq!(status["on"], true, "{status}");
        let own = status["blobs"].as_array();
        blobs.extend(own.context("a list of blobs")?.iter().cloned());
    }
    Ok(blobs)
}

#[test]
fn the_first_fetchers_agent_may_die() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[2, 2], &[ON])?;
    let permits = crowd.permits();
    let pulled = pull_while(&mut crowd, &[24], |crowd| {
        let blobs = in_flight(&crowd.bed)?;
        let feeds = |blob: &Value| blob["feeds"].as_array().is_some_and(|to| !to.is_empty());
        let asks = blobs.iter().filter(|blob| blob["permit"] == true);
        assert!(
            asks.clone().count() == 1 && asks.clone().all(feeds),
            "{blobs:?}"
        );
        let takes = blobs.iter().filter(|blob| blob["takes_from"].is_string());
        assert!(takes.count() >= 2, "{blobs:?}");
        let first = crowd.first_fetcher(&permits);
        let first = crowd
            .bed
            .nodes
            .get_mut(first.context("nobody has a permit")?);
        let agent = first.and_then(|node| node.agent.take());
        agent.context("no agent")?.kill();
        Ok(())
    })?;
    // Its containerd goes on by itself, and another node goes on for the rest.
    let copies = pulled.registry_copies;
    assert!(copies <= 2.05, "{copies} copies from the registry");
    Ok(())
}

#[test]
fn the_server_may_die_in_the_middle() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[2, 2], &[ON])?;
    let pulled = pull_while(&mut crowd, &[24], |crowd| {
        crowd.bed.server.take().context("no server")?.kill();
        Ok(())
    })?;
    let copies = pulled.registry_copies;
    assert!(copies <= MOST, "{copies} copies from the registry");
    Ok(())
}

/// Of two instances one decides for each blob, whichever the nodes ask.
#[test]
fn two_servers_over_one_database_give_one_permit() -> Result<()> {
    let two = Servers::OverMariaDb(2);
    let crowd = crowd_of(Release::V1_7, &[2, 2], &[ON], two)?;
    let pulled = pull_on_all(&crowd, &[12, 6, 4, 2])?;
    let copies = pulled.registry_copies;
    assert!(copies <= MOST, "{copies} copies from the registry");
    Ok(())
}

#[test]
fn one_of_two_servers_may_die_in_the_middle() -> Result<()> {
    let two = Servers::OverMariaDb(2);
    let mut crowd = crowd_of(Release::V1_7, &[2, 2], &[ON], two)?;
    let pulled = pull_while(&mut crowd, &[12, 12], |crowd| {
        crowd.bed.server.take().context("no server")?.kill();
        Ok(())
    })?;
    let copies = pulled.registry_copies;
    assert!(copies <= 2.05, "{copies} copies from the registry");
    Ok(())
}

/// Pulls on the first of four nodes, and on the others once it has a part of the layer; gives what each came to. The
/// registry's copies of the first are those of all.
fn pull_behind_first(crowd: &Crowd, image: &Image, spread: Duration) -> Result<(Pulled, Pulled)> {
    let first = crowd.begin(image, &[0], Duration::ZERO)?;
    arriving(node(&crowd.bed, 0)?, MIB)?;
    let others = crowd.finish(crowd.begin(image, &[1, 2, 3], spread)?)?;
    let first = crowd.finish(first)?;
    for pulled in [&first, &others] {
        ensure!(pulled.failed.is_empty(), "{:?}", pulled.failed);
    }
    Ok((first, others))
}

fn knows_one_slow(crowd: &Crowd) -> Result<()> {
    let server = crowd.bed.server.as_ref().context("no server")?;
    let counted = |line: &str| line == "piccolo_server_swarm_slow_total 1";
    ensure!(
        server.metrics()?.lines().any(counted),
        "the server does not know"
    );
    Ok(())
}

/// A node with a tenth of the link is second in its rack.
#[test]
fn a_slow_node_does_not_hold_up_those_behind_it() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[4], &[ON])?;
    let slow = node(&crowd.bed, 1)?.host.clone();
    crowd.bed.network().reshape(&slow, Rate::megabits(15))?;
    let image = crowd.push("crowd", &[40])?;
    let (first, pulled) = pull_behind_first(&crowd, &image, Duration::from_millis(1500))?;
    let seconds = |node: usize| pulled.seconds.get(&node).copied().unwrap_or(f64::NAN);
    let [own, behind] = [seconds(1), seconds(2).max(seconds(3))];
    assert!(
        behind * 1.3 < own,
        "{behind} s behind one that took {own} s"
    );
    let copies = first.registry_copies;
    assert!(copies <= MOST, "{copies} copies from the registry");
    let slow = |node: &testbed::Node| -> Result<bool> {
        let page = agent(node)?.admin("/metrics")?.text();
        Ok(page
            .lines()
            .any(|line| line == "piccolo_agent_swarm_slow_total 1"))
    };
    knows_one_slow(&crowd)?;
    let slow = crowd.bed.nodes.iter().map(slow);
    let slow = slow.collect::<Result<Vec<_>>>()?;
    assert_eq!(slow, [false, true, false, false]);
    Ok(())
}

/// Two nodes have shown what the registry gives before a node with a tenth of the link asks it for all.
#[test]
fn a_slow_first_fetcher_gives_way_to_the_next() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[4], &[ON])?;
    for (node, name) in [(2, "before"), (3, "just-before")] {
        let image = crowd.push(name, &[40])?;
        crowd.pull(&image, &[node], Duration::ZERO)?;
    }
    let slow = node(&crowd.bed, 0)?.host.clone();
    crowd.bed.network().reshape(&slow, Rate::megabits(15))?;
    let image = crowd.push("crowd", &[40])?;
    let (first, pulled) = pull_behind_first(&crowd, &image, Duration::from_millis(500))?;
    let own = first.seconds.get(&0).copied().unwrap_or(f64::NAN);
    let behind = pulled.seconds.values().copied().fold(0.0, f64::max);
    assert!(
        behind * 1.3 < own,
        "{behind} s behind one that took {own} s"
    );
    let copies = first.registry_copies;
    assert!(copies <= 2.05, "{copies} copies from the registry");
    knows_one_slow(&crowd)?;
    Ok(())
}

#[test]
fn a_rack_takes_one_copy_while_the_server_is_away() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[3, 3], &[ON])?;
    wait_until(
        "the nodes to know their racks",
        Duration::from_mins(1),
        || {
            for node in &crowd.bed.nodes {
                if crowd_status(node)?["rack_mates"] != 3 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        },
    )?;
    crowd.bed.server.take().context("no server")?.kill();
    let pulled = pull_on_all(&crowd, &[12, 12])?;
    let copies = pulled.registry_copies;
    assert!(
        copies <= 2.1,
        "{copies} copies from the registry: {:?}",
        pulled.to_nodes
    );
    for (rack, copies) in &pulled.into_racks {
        assert!(*copies <= 1.1, "{copies} copies into {rack}");
    }
    Ok(())
}

#[test]
fn what_is_denied_takes_no_part() -> Result<()> {
    let crowd = crowd(Release::V1_7, &[1, 1], &[ON, "--deny=registry.test/lib/*"])?;
    let copies = pull_on_all(&crowd, &[8])?.registry_copies;
    assert!(copies >= 1.99, "{copies} copies from the registry");
    for node in &crowd.bed.nodes {
        let received = agent(node)?.received()?;
        assert!(received.is_empty(), "{received:?}");
    }
    Ok(())
}

#[test]
fn nodes_that_take_no_part_pull_as_before() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[2, 1], &[ON])?;
    crowd.bed.start_agent(2, &["--swarm=off"])?;
    let copies = pull_on_all(&crowd, &[16])?.registry_copies;
    assert!(copies <= 2.1, "{copies} copies from the registry");
    Ok(())
}

fn agent(node: &testbed::Node) -> Result<&Agent> {
    node.agent.as_ref().context("a node without an agent")
}

const MIB: u64 = 1 << 20;

#[test]
fn a_damaged_node_in_the_middle_is_named_and_no_pull_fails() -> Result<()> {
    let crowd = crowd(Release::V1_7, &[3], &[ON])?;
    crowd.push("crowd", &[40])?;
    let bed = &crowd.bed;
    let [first, middle, last] = &bed.nodes[..] else {
        return Err(anyhow!("not three nodes"));
    };
    thread::scope(|scope| {
        let mut pulls = vec![scope.spawn(|| pull(first, APP))];
        arriving(first, 2 * MIB)?;
        pulls.push(scope.spawn(|| pull(middle, APP)));
        let (data, _) = arriving(middle, 6 * MIB)?;
        damage(&data, 3 * MIB + 17)?;
        pulls.push(scope.spawn(|| pull(last, APP)));
        let end = Instant::now() + Duration::from_secs(20);
        while !agent(last)?.process().log().contains(WRONG) {
            ensure!(Instant::now() < end, "nobody finds the damage");
            thread::sleep(Duration::from_millis(20));
        }
        // The damaged node is to unpack what containerd verified.
        damage(&data, 3 * MIB + 17)?;
        for pull in pulls {
            pull.join().map_err(|_panic| anyhow!("a pull panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let log = agent(last)?.process().log();
    let named = format!("peer={}", middle.host.address);
    let wrong: Vec<_> = log.lines().filter(|l| l.contains(WRONG)).collect();
    assert!(
        wrong.len() == 1 && wrong[0].contains(&named),
        "{named} is not named: {wrong:?}"
    );
    for other in [first, middle] {
        let log = agent(other)?.process().log();
        assert!(!log.contains(WRONG), "{}", other.host.name);
    }
    Ok(())
}

const WRONG: &str = "it sent a wrong chunk";

/// How long after a false list a pull may go on failing.
const MENDED: Duration = Duration::from_secs(30);

#[test]
fn a_false_list_fails_a_pull_once_and_the_next_try_is_right() -> Result<()> {
    let crowd = crowd(Release::V1_7, &[3], &[ON])?;
    crowd.push("crowd", &[40])?;
    let bed = &crowd.bed;
    let [maker, others @ ..] = &bed.nodes[..] else {
        return Err(anyhow!("no nodes"));
    };
    thread::scope(|scope| {
        let made = scope.spawn(|| pull(maker, APP));
        // Between the write and the agent's look at it the disk turns a byte.
        let (_, before) = arriving(maker, 3 * MIB)?;
        agent(maker)?.process().freeze()?;
        let (data, _) = arriving(maker, before + 6 * MIB)?;
        damage(&data, before + 4 * MIB)?;
        agent(maker)?.process().thaw()?;
        let tries: Vec<_> = others
            .iter()
            .map(|node| scope.spawn(|| pull_at_last(node)))
            .collect();
        for node in others {
            arriving(node, before + 6 * MIB)?;
        }
        // The maker is to unpack what containerd verified; the others have the wrong byte by now.
        damage(&data, before + 4 * MIB)?;
        made.join().map_err(|_panic| anyhow!("a pull panicked"))??;
        for tried in tries {
            let failures = tried
                .join()
                .map_err(|_panic| anyhow!("a pull panicked"))??;
            ensure!(failures <= 1, "a pull failed {failures} times");
        }
        anyhow::Ok(())
    })?;
    let log = bed.server.as_ref().context("no server")?.process().log();
    let cuts: Vec<_> = log
        .lines()
        .filter(|l| l.contains("list was false"))
        .collect();
    let named = format!("maker={}", maker.host.address);
    assert!(
        cuts.len() == 1 && cuts[0].contains(&named),
        "{named} is not named: {cuts:?}"
    );
    Ok(())
}

/// Pulls again and again, and tells how often that failed.
fn pull_at_last(node: &testbed::Node) -> Result<usize> {
    let mut failures = 0;
    let mut end = None;
    loop {
        let Err(error) = pull(node, APP) else {
            return Ok(failures);
        };
        failures += 1;
        let end = *end.get_or_insert_with(|| Instant::now() + MENDED);
        ensure!(Instant::now() < end, "pulls go on failing: {error:#}");
        thread::sleep(Duration::from_secs(1));
    }
}
