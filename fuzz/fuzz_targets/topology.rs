//! The topology file's parser: no text makes it panic, hang or grow without bound, and a file that
//! it takes can be used.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use topology::Topology;

fuzz_target!(|text: &str| {
    match Topology::parse(text) {
        Ok(topology) => {
            let ips = [IpAddr::V4(Ipv4Addr::new(10, 0, 1, 7)), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            for ip in ips {
                let rack = topology.locate(ip);
                assert!(topology.rack_prefixes(rack).iter().any(|cidr| cidr.contains(ip)));
                for place in topology.places() {
                    let path = topology.path(rack, place.rack());
                    assert!((0.0..=1.0).contains(&path.closeness));
                }
            }
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            assert!(!errors.report("topology.yaml", text).is_empty());
        }
    }
});
