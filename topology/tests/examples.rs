//! The examples and the page that operators read are right.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use topology::{
    Bound, Candidate, Estimates, Load, Query, RackId, Ranking, Sample, Topology, explain, schema,
};

const LAB: &str = include_str!("../../deploy/topology/two-rack-lab.yaml");
const SITE: &str = include_str!("../../deploy/topology/three-zone-site.yaml");
const SPINE: &str = include_str!("../../deploy/topology/oversubscribed-spine.yaml");
const EVERY_KEY: &str = include_str!("../../deploy/topology/every-key.yaml");
const SCHEMA: &str = include_str!("../../deploy/topology/topology.schema.json");
const PAGE: &str = include_str!("../../docs/topology.md");

fn parse(text: &str) -> Topology {
    Topology::parse(text).unwrap_or_else(|errors| panic!("{}", errors.report("example", text)))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The rate in Gbit/s that a transfer can reach at most, by the file.
fn gbit(topology: &Topology, from: &str, to: &str) -> f64 {
    let link = topology.path(topology.locate(ip(from)), topology.locate(ip(to)));
    link.prior.bits_per_second() / 1e9
}

#[test]
fn the_lab() {
    let topology = parse(LAB);
    let rates = [
        ("192.168.1.1", 10.0),
        ("192.168.2.1", 1.0),
        ("192.168.3.1", 1.0),
    ];
    for (from, rate) in rates {
        assert!(
            (gbit(&topology, from, "192.168.1.2") - rate).abs() < 1e-9,
            "{from}"
        );
    }
}

#[test]
fn the_site() {
    let topology = parse(SITE);
    let rack = topology.locate(ip("10.1.7.9"));
    assert_eq!(topology.rack_name(rack), "10.1.7.0/24");
    for (from, to, rate) in [
        ("10.1.7.9", "10.1.7.8", 25.0),
        ("10.1.7.9", "10.1.8.8", 25.0),
        ("10.1.7.9", "10.2.7.9", 25.0),
        ("10.2.7.9", "10.3.7.9", 10.0),
    ] {
        assert!(
            (gbit(&topology, from, to) - rate).abs() < 1e-9,
            "{from} {to}"
        );
    }
    let path = |from, to| topology.path(topology.locate(ip(from)), topology.locate(ip(to)));
    assert!(path("10.3.0.1", "10.1.0.1").forbidden && !path("10.1.0.1", "10.3.0.1").forbidden);
    assert!((path("10.2.0.1", "10.3.0.1").cost - 4.0).abs() < 1e-9);
    assert_eq!(path("10.1.1.1", "10.1.2.1").steps, 2);
    assert_eq!(path("10.1.1.1", "10.2.1.1").steps, 4);
}

#[test]
fn the_spine() {
    let topology = parse(SPINE);
    assert!((gbit(&topology, "10.8.2.129", "10.8.1.1") - 10.0).abs() < 1e-9);
    assert!((gbit(&topology, "10.8.2.1", "10.8.1.1") - 25.0).abs() < 1e-9);
    let rack = |ip_| topology.rack_name(topology.locate(ip(ip_)));
    assert_eq!(
        (&*rack("10.8.1.63"), &*rack("10.8.1.64")),
        ("leaf-101", "leaf-102")
    );
}

/// The names of all keys in a schema.
fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(fields) => {
            if let Some(serde_json::Value::Object(properties)) = fields.get("properties") {
                found.extend(properties.keys().cloned());
            }
            fields.values().for_each(|value| keys(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_key_shows_the_defaults_and_is_all_there_are() {
    assert_eq!(*parse(EVERY_KEY).ranking(), Ranking::default());
    let mut found = Vec::new();
    keys(&schema(), &mut found);
    assert!(found.len() > 30);
    for key in found {
        assert!(
            EVERY_KEY.contains(&format!("{key}:")),
            "every-key.yaml lacks `{key}`"
        );
        assert!(PAGE.contains(&format!("`{key}`")), "the page lacks `{key}`");
    }
}

#[test]
fn the_published_schema_is_fresh() {
    let fresh = serde_json::to_string_pretty(&schema()).expect("plain data") + "\n";
    assert!(
        fresh == SCHEMA,
        "write it anew: piccolo-server topology schema > deploy/topology/topology.schema.json"
    );
}

#[test]
fn the_pages_files_can_be_used() {
    let blocks: Vec<&str> = PAGE.split("```yaml\n").skip(1).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        parse(block.split("```").next().unwrap_or_default());
    }
}

/// The explanation that the page goes through is what comes out for the lab.
#[test]
fn the_pages_explanation_is_what_comes_out() {
    let topology = parse(LAB);
    let mut estimates = Estimates::default();
    let busy = Duration::from_secs(2);
    let now = Duration::from_mins(10);
    let sample = Sample {
        rated_bytes: 117_500_000,
        busy,
        span: busy,
        bound: Bound::Network,
    };
    let [left, right] = ["left", "right"].map(RackId::from_name);
    for before in [150, 100, 50] {
        let then = now.saturating_sub(Duration::from_secs(before));
        estimates.observe(then, &topology, right, left, &sample);
    }
    let holders = ["192.168.1.11", "192.168.1.12", "192.168.2.11"];
    let mut holders: Vec<_> = holders
        .iter()
        .map(|holder| Candidate::new(SocketAddr::new(ip(holder), 7787), 0))
        .collect();
    holders[0].load = Load {
        reported: Some(0.25),
        handed_out: 2.0,
    };
    let requester = ip("192.168.1.10");
    let query = Query {
        requester,
        key: b"sha256:layer",
        seed: 1,
        now,
        limit: 10,
    };
    let text: String = explain(&holders, &query, &topology, &estimates)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        PAGE.contains(&text),
        "docs/topology.md should show:\n{text}"
    );
}
