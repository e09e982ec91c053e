//! What holds for every text that is given to the parser: it neither panics nor hangs, a file that
//! it takes can be used, and one that it does not take is told why. The fuzz target
//! (`fuzz/src/topology_file.rs`) and the test beside this file both run it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use topology::{Candidate, Estimates, Query, Topology, rank};

/// Fails where one of these does not hold.
pub(crate) fn check(text: &str) {
    match Topology::parse(text) {
        Ok(topology) => use_it(&topology),
        Err(errors) => {
            assert!(errors.iter().count() > 0, "no reason is given");
            // YAML breaks lines in three ways.
            let breaks = text.replace("\r\n", "\n").replace('\r', "\n");
            let lines = breaks.lines().count().max(1);
            for error in &errors {
                assert!((1..=lines + 1).contains(&error.line()), "{error}");
                assert!(!error.mend().is_empty(), "{error}");
            }
            assert!(!errors.report("topology.yaml", text).is_empty());
        }
    }
}

fn use_it(topology: &Topology) {
    let ips = [
        IpAddr::V4(Ipv4Addr::new(10, 0, 1, 7)),
        IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    for ip in ips {
        let rack = topology.locate(ip);
        let prefixes = topology.rack_prefixes(rack);
        assert!(
            prefixes.iter().any(|cidr| cidr.contains(ip)),
            "{ip} is not in its rack"
        );
        for place in topology.places() {
            let path = topology.path(rack, place.rack());
            assert!((0.0..=1.0).contains(&path.closeness), "{path:?}");
            assert!(path.prior.bits_per_second() >= 1.0, "{path:?}");
        }
    }
    let holders = ips.map(|ip| Candidate::new((ip, 7787).into(), 0));
    let query = Query {
        requester: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 8)),
        key: b"key",
        seed: 0,
        now: Duration::ZERO,
        limit: holders.len(),
    };
    let mut ranked = holders;
    let answered = rank(&mut ranked, &query, topology, &Estimates::default());
    for candidate in ranked.iter().take(answered) {
        assert!(candidate.score().is_finite(), "{candidate:?}");
    }
}
