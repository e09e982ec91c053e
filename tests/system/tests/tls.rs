//! Nodes that show each other who they are: pulls over TLS, and past those who do not show it.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use system_tests::{
    APP, PULL,
    crowd::{Crowd, CrowdSetup, Links, ON, Servers},
    is_little, node, on_each_release, pull, push_app,
};
use testbed::{
    Agent, Bed, BedSetup, Certified, Image, ImageSpec, Layer, Node, Packing, Plan, Rate, Release,
    Run, get, wait_until,
};

on_each_release!(an_image_comes_from_a_peer_over_tls);

/// As in the tests of accounting: the end of what was sent may show only when its connection is closed.
const SETTLES: Duration = Duration::from_secs(90);
const DIALLED: &str = "piccolo_tls_dialled_total";
const ACCEPTED: &str = "piccolo_tls_accepted_total";
const REFUSED: &str = "piccolo_tls_agents_refused_total";

/// A bed whose programs do not run yet, and their certificates.
fn prepared(release: Release, racks: &[u8], rate: Option<Rate>) -> Result<(Bed, Certified)> {
    let plan = Plan {
        node: rate,
        ..Plan::unshaped(racks)
    };
    let bed = Bed::start(Run::start()?, &BedSetup { plan, release })?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let certified = Certified::of(&bed)?;
    Ok((bed, certified))
}

fn agent(node: &Node) -> Result<&Agent> {
    node.agent.as_ref().context("no agent")
}

/// What an agent counts under this name, with labels that say this.
fn counted(node: &Node, name: &str, label: &str) -> Result<u64> {
    let text = agent(node)?.admin("/metrics")?.text();
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    Ok(values.sum())
}

/// Pushes an image with one layer. Agents keep smaller ones than 4 MiB in memory for a while.
fn push_of(bed: &Bed, kibibytes: u32) -> Result<Image> {
    let layer = Layer {
        kibibytes,
        packing: Packing::Tar,
    };
    let image = ImageSpec {
        layers: vec![layer],
        ..ImageSpec::small("long")
    }
    .build()?;
    bed.registry.push(&image, APP)?;
    Ok(image)
}

/// Has a node forget the image.
fn forget(node: &Node) -> Result<()> {
    node.containerd.cri().remove(&Bed::image_name(APP))?;
    wait_until("the content to be collected", PULL, || {
        Ok((node.containerd.content_bytes() == 0).then_some(()))
    })
}

/// Bytes from the registry to a node.
fn from_registry(bed: &Bed, node: &Node) -> Result<u64> {
    bed.registry.settle()?;
    Ok(bed.registry.bytes_to(node.host.address))
}

/// What an agent says of a peer.
#[derive(Debug, Deserialize)]
struct Peer {
    addr: IpAddr,
    received_bytes: u64,
    received_http_bytes: u64,
    received_tls_bytes: u64,
    received_tcp_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Status {
    peers: Vec<Peer>,
}

fn an_image_comes_from_a_peer_over_tls(release: Release) -> Result<()> {
    let (mut bed, certified) = prepared(release, &[1, 1], None)?;
    // The test asks it without.
    certified.server(&mut bed, "permissive", &[])?;
    certified.agents(&mut bed, "required", &[])?;
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    pull(second, APP)?;
    let sent = from_registry(&bed, second)?;
    ensure!(is_little(sent, &image), "the registry sent {sent} bytes");
    for node in &bed.nodes {
        ensure!(
            counted(node, DIALLED, "outcome=\"plain\"")? == 0,
            "a plain call"
        );
        ensure!(
            counted(node, ACCEPTED, "outcome=\"plain\"")? == 0,
            "a plain call"
        );
        ensure!(counted(node, REFUSED, "")? == 0, "a refusal");
    }
    ensure!(
        counted(first, ACCEPTED, "outcome=\"tls\"")? > 0,
        "no connection"
    );
    // What HTTP and TLS carried is what the kernel saw, to the byte.
    wait_until("all counters to agree", SETTLES, || {
        let answer = agent(second)?.admin("/status")?;
        let status: Status = serde_json::from_slice(&answer.body)?;
        let mut peers = status.peers.iter();
        let peer = peers.find(|peer| peer.addr == first.host.address);
        let peer = peer.context("no such peer")?;
        ensure!(peer.received_bytes >= image.bytes() * 9 / 10, "{peer:?}");
        ensure!(peer.received_tls_bytes > 0, "{peer:?}");
        let passed = peer.received_http_bytes + peer.received_tls_bytes;
        Ok((peer.received_tcp_bytes.abs_diff(passed) <= 2).then_some(()))
    })
}

/// Of two holders one speaks no TLS, which is required.
#[test]
fn who_shows_nothing_is_passed_over_and_takes_nothing() -> Result<()> {
    let (mut bed, certified) = prepared(Release::V2, &[3], None)?;
    certified.server(&mut bed, "permissive", &[])?;
    bed.start_agent(0, &[])?;
    certified.agent(&mut bed, 1, "required", &[])?;
    certified.agent(&mut bed, 2, "required", &[])?;
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    // The one holder is refused: all comes from the registry.
    let (plain, able, last) = (node(&bed, 0)?, node(&bed, 1)?, node(&bed, 2)?);
    pull(able, APP)?;
    ensure!(
        from_registry(&bed, able)? >= image.bytes(),
        "taken from who shows nothing"
    );
    ensure!(
        counted(able, REFUSED, "reason=\"plain\"")? > 0,
        "not counted"
    );
    let cause = counted(
        able,
        "piccolo_agent_peer_failures_total",
        "cause=\"identity\"",
    )?;
    ensure!(cause > 0, "not counted as a failure of the peer");
    wait_until("the server to know of the other holder", PULL, || {
        let blob = image.native_blobs().next().context("no blob")?;
        let server = bed.server.as_ref().context("no server")?;
        Ok((server.holders(Bed::group(), &blob.digest)? == 2).then_some(()))
    })?;
    pull(last, APP)?;
    let sent = from_registry(&bed, last)?;
    ensure!(is_little(sent, &image), "the registry sent {sent} bytes");
    // It is not served either.
    forget(plain)?;
    let before = from_registry(&bed, plain)?;
    pull(plain, APP)?;
    let sent = from_registry(&bed, plain)? - before;
    ensure!(
        sent >= image.bytes() * 9 / 10,
        "who shows nothing was served"
    );
    let refused = counted(able, REFUSED, "accepted")? + counted(last, REFUSED, "accepted")?;
    ensure!(refused > 0, "not counted where it was refused");
    Ok(())
}

/// Somebody in between could have it look so.
#[test]
fn who_has_shown_a_certificate_is_not_believed_without() -> Result<()> {
    let (mut bed, certified) = prepared(Release::V1_7, &[2], None)?;
    certified.server(&mut bed, "permissive", &[])?;
    certified.agents(&mut bed, "permissive", &[])?;
    let image = push_of(&bed, 6 << 10)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    pull(node(&bed, 1)?, APP)?;
    let sent = from_registry(&bed, node(&bed, 1)?)?;
    ensure!(is_little(sent, &image), "the registry sent {sent} bytes");
    // Its server does not believe it either, as long as it is the same.
    bed.server.take().context("no server")?.stop()?;
    certified.server(&mut bed, "permissive", &[])?;
    bed.start_agent(0, &[])?;
    let second = node(&bed, 1)?;
    forget(second)?;
    let holders = || {
        let blob = image.native_blobs().next().context("no blob")?;
        let server = bed.server.as_ref().context("no server")?;
        server.holders(Bed::group(), &blob.digest)
    };
    wait_until("only the first to be a holder", PULL, || {
        Ok((holders()? == 1).then_some(()))
    })?;
    pull(second, APP)?;
    let again = from_registry(&bed, second)? - sent;
    ensure!(again >= image.bytes() * 9 / 10, "it was believed: {again}");
    ensure!(
        counted(second, DIALLED, "outcome=\"stripped\"")? > 0,
        "not counted"
    );
    Ok(())
}

#[test]
fn a_certificate_is_exchanged_during_a_pull() -> Result<()> {
    let (mut bed, certified) = prepared(Release::V2, &[2], Some(Rate::megabits(24)))?;
    // The test asks it without.
    certified.server(&mut bed, "permissive", &[])?;
    certified.agents(&mut bed, "required", &[])?;
    let image = push_of(&bed, 72 << 10)?;
    // From here on the old one lasts only so long.
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    first
        .containerd
        .cri()
        .pull(&Bed::image_name(APP), PULL * 3)?;
    certified.renew(&first.host, Duration::from_secs(20))?;
    bed.wait_until_shared(&image)?;
    thread::sleep(Duration::from_secs(6));
    let cri = second.containerd.cri();
    let pulling = thread::spawn(move || cri.pull(&Bed::image_name(APP), PULL * 3));
    thread::sleep(Duration::from_secs(2));
    certified.renew(&first.host, Duration::from_hours(24))?;
    let pulled = pulling.join();
    pulled.map_err(|_panic| anyhow::anyhow!("a pull panicked"))??;
    let sent = from_registry(&bed, second)?;
    ensure!(is_little(sent, &image), "the registry sent {sent} bytes");
    Ok(())
}

#[test]
fn a_crowd_takes_one_copy_over_tls() -> Result<()> {
    let mut crowd = Crowd::start(&CrowdSetup {
        release: Release::V2,
        settings: "",
        racks: &[3, 3],
        links: Links {
            node: 150,
            uplink: 200,
            registry: 80,
        },
        agents: &[ON],
        stripes: 1,
        servers: Servers::One,
        deadline: PULL,
    })?;
    let certified = Certified::of(&crowd.bed)?;
    crowd.secure(&certified, "required")?;
    let image = crowd.push("crowd", &[12, 12, 12])?;
    let pulled = crowd.pull(&image, &crowd.all(), Duration::ZERO)?;
    ensure!(pulled.failed.is_empty(), "{:?}", pulled.failed);
    let copies = pulled.registry_copies;
    ensure!(copies <= 1.05, "{copies} copies from the registry");
    for node in &crowd.bed.nodes {
        ensure!(
            counted(node, DIALLED, "outcome=\"plain\"")? == 0,
            "a plain call"
        );
        ensure!(
            counted(node, DIALLED, "outcome=\"tls\"")? > 0,
            "no call over TLS"
        );
    }
    Ok(())
}

#[test]
fn an_open_admin_listener_is_for_who_may_look() -> Result<()> {
    let (mut bed, certified) = prepared(Release::V2, &[2], None)?;
    let token = bed.run().make_directory("token")?.join("token");
    std::fs::write(&token, "secret\n")?;
    certified.server(&mut bed, "required", &[])?;
    let file = format!("--operator-token-file={}", token.display());
    let open = ["--admin-listen=[::]:7786", file.as_str()];
    certified.agent(&mut bed, 0, "required", &open)?;
    let (one, other) = (node(&bed, 0)?, node(&bed, 1)?);
    let admin = (one.host.address, 7786).into();
    let netns = &other.host.netns;
    // Probes and who is on the node need nothing.
    ensure!(get(netns, admin, "/healthz")?.status == 200);
    ensure!(get(netns, admin, "/readyz")?.status == 200);
    ensure!(agent(one)?.admin("/metrics")?.status == 200);
    let nobody = certified.client(None)?;
    let bearer = |token| [("Authorization", token)];
    for page in ["/metrics", "/status"] {
        let plain = get(netns, admin, page)?;
        ensure!(
            plain.status == 401 && !plain.text().contains("piccolo_"),
            "{plain:?}"
        );
        for (role, status) in [("reader/r", 200), ("operator/o", 200), ("agent/g/n", 403)] {
            let uri = format!("spiffe://bed/piccolo/{role}");
            let client = certified.client(Some(&uri))?;
            let answer = client.get(netns, admin, page, &[])?;
            ensure!(answer.status == status, "{role}: {answer:?}");
        }
        for (headers, status) in [
            (&bearer("Bearer secret")[..], 200),
            (&bearer("Bearer other")[..], 401),
            (&[][..], 401),
        ] {
            let answer = nobody.get(netns, admin, page, headers)?;
            ensure!(answer.status == status, "{headers:?}: {answer:?}");
        }
    }
    Ok(())
}
