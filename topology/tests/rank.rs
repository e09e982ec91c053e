//! Whom the ranking puts first, and how it explains that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use topology::{
    Bound, Candidate, Estimates, HolderState, Load, Placement, Query, RackId, Sample, Topology,
    attractive_racks, explain, rank,
};

const SITE: &str = "
defaults: {host_link: 10Gbit}
ranking: {half_life: 10m, probe_share: 0}
tree:
  - name: east
    kind: zone
    children:
      - {name: e1, kind: rack, cidrs: [10.0.1.0/24], uplink: 40Gbit}
      - {name: e2, kind: rack, cidrs: [10.0.2.0/24], uplink: 40Gbit}
      - {name: e3, kind: rack, cidrs: [10.0.64.0/24], uplink: 40Gbit}
  - name: west
    kind: zone
    uplink: 1Gbit
    children:
      - {name: w1, kind: rack, cidrs: [10.1.1.0/24], uplink: 40Gbit}
  - {name: vault, kind: zone, cidrs: [10.2.0.0/24]}
links:
  - {between: [vault, east], forbidden: true}
";
const NOW: Duration = Duration::from_hours(1);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn candidates(holders: &[&str]) -> Vec<Candidate> {
    let holder = |text: &&str| SocketAddr::new(ip(text), 7787);
    holders
        .iter()
        .map(holder)
        .zip(0..)
        .map(|(holder, index)| Candidate::new(holder, index))
        .collect()
}

fn query(requester: &str, seed: u64) -> Query<'static> {
    Query {
        requester: ip(requester),
        key: b"sha256:layer",
        seed,
        now: NOW,
        limit: 100,
    }
}

/// The holders in the order of the answer.
fn check(
    topology: &Topology,
    estimates: &Estimates,
    query: &Query<'_>,
    mut holders: Vec<Candidate>,
) -> Vec<String> {
    let answered = rank(&mut holders, query, topology, estimates);
    holders[..answered]
        .iter()
        .map(|candidate| candidate.holder.ip().to_string())
        .collect()
}

fn slow(gbit: u32) -> Sample {
    let busy = Duration::from_secs(1);
    let rated_bytes = u64::from(gbit) * 12_500_000;
    Sample {
        rated_bytes,
        busy,
        span: busy,
        bound: Bound::Network,
    }
}

#[test]
fn same_rack_then_same_zone_then_the_rest() {
    let topology = Topology::parse(SITE).expect("sound");
    let holders = candidates(&[
        "10.1.1.1",
        "10.0.2.1",
        "10.0.1.9",
        "192.168.0.1",
        "10.0.1.1",
    ]);
    let order = check(
        &topology,
        &Estimates::default(),
        &query("10.0.1.1", 1),
        holders,
    );
    assert_eq!(order, ["10.0.1.9", "10.0.2.1", "192.168.0.1", "10.1.1.1"]);
}

#[test]
fn the_requester_and_forbidden_holders_are_left_out() {
    let topology = Topology::parse(SITE).expect("sound");
    let estimates = Estimates::default();
    let holders = || candidates(&["10.0.1.1", "10.2.0.1", "::ffff:10.0.1.1", "10.0.1.2"]);
    assert_eq!(
        check(&topology, &estimates, &query("10.0.1.1", 1), holders()),
        ["10.0.1.2"]
    );
    let order = check(&topology, &estimates, &query("10.2.0.9", 1), holders());
    assert_eq!(order, ["10.2.0.1"]);
    assert_eq!(
        check(&topology, &estimates, &query("10.0.1.1", 1), Vec::new()),
        [""; 0]
    );
}

#[test]
fn without_a_file_the_common_prefix_decides() {
    let topology = Topology::default();
    let holders = candidates(&["10.9.0.1", "10.0.1.7", "10.0.200.1", "2001:db8::1"]);
    let order = check(
        &topology,
        &Estimates::default(),
        &query("10.0.1.1", 1),
        holders,
    );
    assert_eq!(order[0], "10.0.1.7");
    assert_eq!(order[3], "2001:db8::1");
}

/// What was found out for one address serves its neighbours only, not what looks alike in numbers.
#[test]
fn families_are_not_mixed_up() {
    let topology = Topology::parse(SITE).expect("sound");
    for holders in [
        ["::1", "10.0.1.9"],
        ["10.0.1.9", "::1"],
        ["::a00:109", "10.0.1.9"],
    ] {
        let order = check(
            &topology,
            &Estimates::default(),
            &query("10.0.1.1", 1),
            candidates(&holders),
        );
        assert_eq!(order[0], "10.0.1.9");
        let explained = explain(
            &candidates(&holders),
            &query("10.0.1.1", 1),
            &topology,
            &Estimates::default(),
        );
        assert_eq!((&*explained[0].rack, &*explained[1].rack), ("e1", "::/64"));
    }
}

/// The slow link that the file does not know of is avoided although its prefix is nearer; the
/// link restored, it is tried again and comes back within the half-life.
#[test]
fn a_slow_link_is_avoided_and_comes_back() {
    let site = SITE.replace("probe_share: 0", "probe_share: 0.1");
    let topology = Topology::parse(&site).expect("sound");
    let mut estimates = Estimates::default();
    let [e1, e2, e3] = ["e1", "e2", "e3"].map(RackId::from_name);
    let holders = || candidates(&["10.0.2.1", "10.0.64.1"]);
    let mut now = NOW;
    let first = |estimates: &Estimates, now, seed| {
        let query = Query {
            now,
            ..query("10.0.1.1", seed)
        };
        check(&topology, estimates, &query, holders())[0].clone()
    };
    let favours_e2 = |estimates: &Estimates, now| {
        (0..100)
            .filter(|seed| first(estimates, now, *seed) == "10.0.2.1")
            .count()
    };
    for _ in 0..3 {
        now += Duration::from_secs(20);
        estimates.observe(now, &topology, e2, e1, &slow(1));
        estimates.observe(now, &topology, e3, e1, &slow(90));
    }
    assert_eq!(favours_e2(&estimates, now), 0, "after a few pulls");
    let restored = now;
    let mut seed = 0;
    while favours_e2(&estimates, now) < 30 {
        now += Duration::from_secs(5);
        seed += 1;
        assert!(
            now < restored + Duration::from_mins(10),
            "not back within the half-life"
        );
        let from = if first(&estimates, now, seed) == "10.0.2.1" {
            e2
        } else {
            e3
        };
        estimates.observe(now, &topology, from, e1, &slow(90));
    }
}

/// Sixteen requesters of one rack ask for one key of eight equal holders, with what was just
/// handed out for load: none is asked first by more than twice the mean.
#[test]
fn no_holder_is_everybodys_first() {
    let topology = Topology::parse(SITE).expect("sound");
    let estimates = Estimates::default();
    for seed in 0..200 {
        let mut handed_out: BTreeMap<SocketAddr, u8> = BTreeMap::new();
        for requester in 1..=16 {
            let holders: Vec<_> = (101..109).map(|host| format!("10.0.2.{host}")).collect();
            let mut holders = candidates(&holders.iter().map(String::as_str).collect::<Vec<_>>());
            for candidate in &mut holders {
                let count = handed_out.get(&candidate.holder).copied().unwrap_or(0);
                candidate.load = Load {
                    reported: None,
                    handed_out: f32::from(count),
                };
            }
            let requester = format!("10.0.1.{requester}");
            rank(
                &mut holders,
                &query(&requester, seed),
                &topology,
                &estimates,
            );
            *handed_out.entry(holders[0].holder).or_default() += 1;
        }
        let busiest = handed_out.values().max().copied();
        assert!(busiest <= Some(4), "seed {seed}: {handed_out:?}");
    }
}

/// Without any load known, chance alone has no favourite either.
#[test]
fn chance_has_no_favourite() {
    let topology = Topology::parse(SITE).expect("sound");
    let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..4000 {
        let holders = candidates(&["10.0.2.1", "10.0.2.2", "10.0.2.4", "10.0.2.8"]);
        let order = check(
            &topology,
            &Estimates::default(),
            &query("10.0.1.1", seed),
            holders,
        );
        *firsts.entry(order[0].clone()).or_default() += 1;
    }
    assert!(
        firsts.len() == 4 && firsts.values().all(|n| (850..1150).contains(n)),
        "{firsts:?}"
    );
}

#[test]
fn the_less_loaded_of_two_goes_first() {
    let topology = Topology::parse(SITE).expect("sound");
    for seed in 0..50 {
        let mut holders = candidates(&["10.0.2.1", "10.0.2.2"]);
        holders[0].load.reported = Some(0.15);
        holders[1].load.reported = Some(0.05);
        let order = check(
            &topology,
            &Estimates::default(),
            &query("10.0.1.1", seed),
            holders,
        );
        assert_eq!(order[0], "10.0.2.2");
    }
}

#[test]
fn who_is_still_fetching_comes_last() {
    let topology = Topology::parse(SITE).expect("sound");
    let mut holders = candidates(&["10.0.1.9", "10.1.1.1"]);
    holders[0].state = HolderState::Fetching;
    let order = check(
        &topology,
        &Estimates::default(),
        &query("10.0.1.1", 1),
        holders,
    );
    assert_eq!(order, ["10.1.1.1", "10.0.1.9"]);
}

#[test]
fn some_places_are_kept_for_other_racks() {
    let topology = Topology::parse(SITE).expect("sound");
    let mut names: Vec<String> = (1..100).map(|host| format!("10.0.1.{host}")).collect();
    names.extend((1..50).map(|host| format!("10.0.2.{host}")));
    names.extend((1..50).map(|host| format!("10.1.1.{host}")));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (limit, kept) in [(20, 2), (10, 1), (5, 1), (1, 1), (196, 98)] {
        let query = Query {
            limit,
            ..query("10.0.1.1", 1)
        };
        let order = check(&topology, &Estimates::default(), &query, candidates(&names));
        let remote = order
            .iter()
            .filter(|holder| !holder.starts_with("10.0.1."))
            .count();
        assert_eq!((order.len(), remote), (limit, kept));
        if (2..100).contains(&limit) {
            assert!(
                order[0].starts_with("10.0.1."),
                "the own rack is still first"
            );
            assert!(
                order.iter().all(|holder| !holder.starts_with("10.1.")),
                "the best of the others"
            );
        }
    }
}

#[test]
fn racks_worth_asking() {
    let topology = Topology::parse(SITE).expect("sound");
    let mut estimates = Estimates::default();
    let [e1, e2, guess] = ["e1", "e2", "10.5.5.0/24"].map(RackId::from_name);
    let names = |estimates: &Estimates| {
        let racks = attractive_racks(&topology, estimates, NOW, e1, 3);
        racks
            .iter()
            .map(|rack| topology.rack_name(*rack).into_owned())
            .collect::<Vec<_>>()
    };
    let racks = names(&estimates);
    assert!(racks[0] == "e1" && racks.contains(&"e2".into()) && racks.contains(&"e3".into()));
    for minute in [2, 1, 0] {
        let now = NOW.saturating_sub(Duration::from_mins(minute));
        estimates.observe(now, &topology, e2, e1, &slow(1));
        estimates.observe(now, &topology, guess, e1, &slow(100));
    }
    assert_eq!(names(&estimates), ["e1", "e3", "10.5.5.0/24"]);
}

#[test]
fn it_explains_itself() {
    let topology = Topology::parse(SITE).expect("sound");
    let mut estimates = Estimates::default();
    let [e1, e2] = ["e1", "e2"].map(RackId::from_name);
    for second in [60, 40, 20] {
        let now = NOW.saturating_sub(Duration::from_secs(second));
        estimates.observe(now, &topology, e2, e1, &slow(1));
    }
    let mut holders = candidates(&[
        "10.0.1.1",
        "10.0.1.2",
        "10.0.1.3",
        "10.0.2.1",
        "10.0.64.1",
        "10.1.1.1",
        "10.2.0.1",
        "2001:db8::1",
    ]);
    holders[1].load = Load {
        reported: Some(0.2),
        handed_out: 1.0,
    };
    let query = Query {
        limit: 5,
        ..query("10.0.1.1", 7)
    };
    let explained = explain(&holders, &query, &topology, &estimates);
    let text: String = explained.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("explanation", text);
    let first = serde_json::to_value(&explained[0]).expect("plain data");
    assert_eq!(first["outcome"], serde_json::json!({ "place": 1 }));
    assert_eq!(first["bandwidth"]["estimate"]["prior"], 10e9);
    let places = explained
        .iter()
        .filter(|one| matches!(one.outcome, Placement::Place(_)))
        .count();
    assert_eq!(places, 5);
}
