//! The first topology file that the server draws up.

use std::net::IpAddr;
use std::time::Duration;

use topology::{Bound, Estimates, RackId, Sample, Topology, suggest};

const NOW: Duration = Duration::from_hours(1);

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

fn measure(estimates: &mut Estimates, a: &str, b: &str, mbit: u32) {
    let busy = Duration::from_secs(8);
    let rated_bytes = u64::from(mbit) * 1_000_000;
    let sample = Sample {
        rated_bytes,
        busy,
        span: busy,
        bound: Bound::Network,
    };
    for (from, to) in [(a, b), (b, a)] {
        let (from, to) = (RackId::from_name(from), RackId::from_name(to));
        for before in [40, 20, 0] {
            let now = NOW.saturating_sub(Duration::from_secs(before));
            estimates.observe(now, &Topology::default(), from, to, &sample);
        }
    }
}

/// The file, which is always one that can be used.
fn check(nodes: &[&str], estimates: &Estimates) -> String {
    let file = suggest(addresses(nodes), estimates, NOW);
    let topology = Topology::parse(&file).unwrap_or_else(|errors| panic!("{file}\n{errors}"));
    for ip in addresses(nodes) {
        assert!(topology.knows(ip), "{ip} is in\n{file}");
    }
    file
}

#[test]
fn racks_from_prefixes_and_zones_from_measurements() {
    let mut estimates = Estimates::default();
    let racks = ["10.0.1.0/24", "10.0.2.0/24", "10.7.1.0/24", "10.7.2.0/24"];
    for (a, b, mbit) in [
        (0, 1, 9000),
        (2, 3, 8000),
        (0, 2, 900),
        (1, 2, 900),
        (1, 3, 800),
    ] {
        measure(&mut estimates, racks[a], racks[b], mbit);
    }
    let nodes = [
        "10.0.1.1",
        "10.0.1.2",
        "10.0.2.1",
        "10.7.1.1",
        "10.7.2.1",
        "10.9.9.9",
        "10.9.10.9",
        "2001:db8:1::7",
    ];
    insta::assert_snapshot!(check(&nodes, &estimates));
}

#[test]
fn nothing_measured_is_one_list_of_racks() {
    insta::assert_snapshot!(check(
        &["10.0.1.1", "10.0.2.1", "::1"],
        &Estimates::default()
    ));
}

#[test]
fn no_nodes_is_a_file_all_the_same() {
    insta::assert_snapshot!(check(&[], &Estimates::default()));
}
