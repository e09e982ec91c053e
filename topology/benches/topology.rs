//! What a find costs the server in here: ranking, and what goes with it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use topology::{Bound, Candidate, Estimates, Query, Sample, Topology, attractive_racks, rank};

const NOW: Duration = Duration::from_hours(1);

/// Ten zones of a hundred racks.
fn site() -> String {
    let rack = |zone: u16, rack: u16| {
        let number = zone * 100 + rack;
        let (a, b) = (number / 256, number % 256);
        format!("      - {{name: z{zone}r{rack}, cidrs: [10.{a}.{b}.0/24], uplink: 100Gbit}}\n")
    };
    let zone = |zone: u16| {
        let racks: Vec<_> = (0..100).map(|number| rack(zone, number)).collect();
        let racks = racks.concat();
        format!("  - name: z{zone}\n    uplink: 400Gbit\n    children:\n{racks}")
    };
    let zones: Vec<_> = (0..10).map(zone).collect();
    format!("defaults: {{host_link: 25Gbit}}\ntree:\n{}", zones.concat())
}

/// That many holders, evenly in that many racks.
fn holders(count: u16, racks: u16) -> Vec<Candidate> {
    let holder = |number: u16| {
        let [a, b] = (number % racks).to_be_bytes();
        let [_, host] = (number / racks + 1).to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, a, b, host));
        Candidate::new(SocketAddr::new(ip, 7787), u32::from(number))
    };
    let mut holders: Vec<_> = (0..count).map(holder).collect();
    holders.sort_by_key(|candidate| candidate.holder);
    holders
}

fn estimates(topology: &Topology, holders: &[Candidate], requester: IpAddr) -> Estimates {
    let mut estimates = Estimates::default();
    let to = topology.locate(requester);
    let second = Duration::from_secs(1);
    let sample = Sample {
        rated_bytes: 1 << 28,
        busy: second,
        span: second,
        bound: Bound::Network,
    };
    for candidate in holders {
        let from = topology.locate(candidate.holder.ip());
        estimates.observe(NOW, topology, from, to, &sample);
    }
    estimates
}

fn ranking(c: &mut Criterion) {
    let requester = IpAddr::V4(Ipv4Addr::new(10, 0, 7, 200));
    let declared = Topology::parse(&site()).expect("sound");
    for (name, topology, racks, limit) in [
        ("2000 holders in 50 racks, best 100", &declared, 50, 100),
        ("2000 holders in 50 racks, all", &declared, 50, 2000),
        ("2000 holders in 1000 racks, best 100", &declared, 1000, 100),
        (
            "2000 holders in 50 racks, no file, best 100",
            &Topology::default(),
            50,
            100,
        ),
    ] {
        let holders = holders(2000, racks);
        let estimates = estimates(topology, &holders, requester);
        // Another seed each time, as some finds probe and most do not.
        let mut seed = 0;
        c.bench_function(&format!("rank {name}"), |bench| {
            bench.iter_batched_ref(
                || holders.clone(),
                |holders| {
                    seed += 1;
                    let query = Query {
                        requester,
                        key: b"sha256:0123456789abcdef",
                        seed,
                        now: NOW,
                        limit,
                    };
                    rank(holders, &query, topology, &estimates)
                },
                BatchSize::NumIterations(10),
            );
        });
    }
}

fn the_rest(c: &mut Criterion) {
    let text = site();
    let topology = Topology::parse(&text).expect("sound");
    let requester = IpAddr::V4(Ipv4Addr::new(10, 0, 7, 200));
    let rack = topology.locate(requester);
    let estimates = estimates(&topology, &holders(2000, 1000), requester);
    c.bench_function("parse 1000 racks", |bench| {
        bench.iter(|| Topology::parse(black_box(&text)));
    });
    c.bench_function("locate", |bench| {
        bench.iter(|| topology.locate(black_box(requester)));
    });
    c.bench_function("attractive racks of 1000", |bench| {
        bench.iter(|| attractive_racks(&topology, &estimates, NOW, black_box(rack), 5));
    });
}

criterion_group!(benches, ranking, the_rest);
criterion_main!(benches);
