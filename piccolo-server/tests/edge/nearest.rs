//! The nearest of very many holders, compared with the order that going through all of them gives:
//! of both families, by scans of the database and by lists in memory.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use futures_util::{StreamExt as _, stream};
use piccolo_api::path;
use serde_json::json;
use topology::common_prefix_bits;

use crate::{
    engine::{Database, Engine, on_engines},
    server::{Server, eventually},
};

on_engines!(all:
    the_nearest_ipv4_holders_are_found,
    the_nearest_ipv6_holders_are_found,
    fast_racks_are_found_wherever_they_are,
    a_count_beyond_the_limit_is_cut_to_it,
);

/// The order is that of the prefixes, and nothing else: what is equally near is in any order.
const NEAREST: &str = "\
version: 1
ranking:
  probe_share: 0
  remote_share: 0
  tier_width: 0.001
  weights: {prefix: 1, tree: 0, bandwidth: 0, load: 0}
";

/// Makes an address of a rack's number and a host's.
type Address = fn(u16, u16) -> IpAddr;

fn v4(rack: u16, host: u16) -> IpAddr {
    let [high, low] = rack.to_be_bytes();
    let host = u8::try_from(host).expect("a small number");
    Ipv4Addr::new(10, high, low, host).into()
}

fn v6(rack: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, rack, 0, 0, 0, host).into()
}

/// One key, and who has it.
struct Held {
    database: Database,
    holders: Vec<SocketAddr>,
}

impl Held {
    /// A number of racks of 20 nodes with the key; of every seventh host two agents have it.
    async fn new(engine: Engine, racks: u16, address: Address) -> Self {
        let database = engine.database();
        let (url, many) = (database.url(), "10000");
        let flags = ["--database", &url, "--nodes-per-address", many];
        let server = Server::start(&flags).await;
        let mut holders = Vec::new();
        for rack in 0..racks {
            for host in 1..=20 {
                // Some of the numbers are left out.
                let ip = address(rack * 3, host * 5);
                holders.push(SocketAddr::new(ip, 7787));
                if host % 7 == 0 {
                    holders.push(SocketAddr::new(ip, 9999));
                }
            }
        }
        let calls = holders.iter().map(|holder| {
            let (server, holder) = (&server, holder.to_string());
            async move { server.advertise(&holder, &["k"]).await }
        });
        let calls: Vec<_> = calls.collect();
        stream::iter(calls)
            .buffer_unordered(64)
            .collect::<Vec<()>>()
            .await;
        server.stop().await;
        Self { database, holders }
    }

    async fn serve(&self, topology: &str, ttl: &str) -> (Server, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("topology.yaml");
        fs::write(&file, topology).expect("it is written");
        let url = self.database.url();
        let file = file.display().to_string();
        let flags = ["--database", &url, "--topology", &file];
        let flags = flags.into_iter().chain(["--find-cache-ttl", ttl]);
        let flags: Vec<_> = flags.collect();
        (Server::start(&flags).await, directory)
    }

    /// How many bits the nearest ones have in common with a host, most first.
    fn expected(&self, host: IpAddr, count: usize) -> Vec<Option<u32>> {
        let others = self.holders.iter().filter(|holder| holder.ip() != host);
        let mut bits: Vec<_> = others
            .map(|holder| common_prefix_bits(holder.ip(), host))
            .collect();
        bits.sort_unstable_by(|a, b| b.cmp(a));
        bits.truncate(count);
        bits
    }

    /// The same of an answer, all of which have to be holders.
    async fn found(&self, server: &Server, host: IpAddr, count: u32) -> Vec<Option<u32>> {
        let found = server.ranked("k", &host.to_string(), count).await;
        let found: Vec<SocketAddr> = found
            .iter()
            .map(|holder| holder.parse().expect("an address"))
            .collect();
        let each: BTreeSet<_> = found.iter().collect();
        assert_eq!(each.len(), found.len(), "{host}: {found:?}");
        for holder in &found {
            assert!(self.holders.contains(holder), "{host}: {holder}");
        }
        found
            .iter()
            .map(|holder| common_prefix_bits(holder.ip(), host))
            .collect()
    }
}

/// Those that have the key and those that have not, in the middle, between racks, before all and
/// behind all.
fn hosts(racks: u16, address: Address) -> Vec<IpAddr> {
    let last = (racks - 1) * 3;
    let places = [
        (0, 1),
        (0, 50),
        (last / 2, 33),
        (last / 2 + 1, 60),
        (30, 100),
        (last, 100),
        (last, 250),
        (last + 200, 1),
    ];
    places
        .map(|(rack, host)| address(rack, host))
        .into_iter()
        .collect()
}

async fn check(engine: Engine, racks: u16, address: Address) {
    let held = Held::new(engine, racks, address).await;
    let hosts = hosts(racks, address);
    let (server, _topology) = held.serve(NEAREST, "0").await;
    for host in &hosts {
        // Of so few, each side alone has enough.
        for count in [1, 3, 20] {
            let found = held.found(&server, *host, count).await;
            let wanted = usize::try_from(count).expect("a small number");
            assert_eq!(found, held.expected(*host, wanted), "{host} {count}");
        }
    }
    let (server, _topology) = held.serve(NEAREST, "5m").await;
    // A scan of this size ends on one side; the list has them all. A host behind all others is answered
    // right by either, so each is asked.
    eventually("the list is in memory", async || {
        for host in &hosts {
            if held.found(&server, *host, 200).await != held.expected(*host, 200) {
                return false;
            }
        }
        true
    })
    .await;
    for host in &hosts {
        for count in [1, 20, 200] {
            let found = held.found(&server, *host, count).await;
            let wanted = usize::try_from(count).expect("a small number");
            assert_eq!(found, held.expected(*host, wanted), "{host} {count}");
        }
    }
}

async fn the_nearest_ipv4_holders_are_found(engine: Engine) {
    check(engine, 30, v4).await;
}

/// More than one page of the list.
async fn the_nearest_ipv6_holders_are_found(engine: Engine) {
    check(engine, 200, v6).await;
}

async fn fast_racks_are_found_wherever_they_are(engine: Engine) {
    let fast = "\
version: 1
ranking: {probe_share: 0, remote_share: 0}
defaults: {host_link: 100Gbit}
tree:
  - name: slow
    uplink: 100Mbit
    children:
      - {name: slow-v4, cidrs: [10.0.64.0/18], rack_prefix: {ipv4: 24}, uplink: 100Mbit}
      - {name: slow-v6, cidrs: ['2001:db8:0:40::/58'], rack_prefix: {ipv6: 64}, uplink: 100Mbit}
  - {name: fast, cidrs: [10.0.3.0/24, '2001:db8:0:3::/64']}
  - {name: asking, cidrs: [10.0.200.0/24, '2001:db8:0:c8::/64']}
";
    let families: [(Address, IpAddr); 2] = [(v4, v4(3, 0)), (v6, v6(3, 0))];
    for (address, own) in families {
        let held = Held::new(engine, 30, address).await;
        for ttl in ["0", "5m"] {
            let (server, _topology) = held.serve(fast, ttl).await;
            for _ in 0..8 {
                let host = address(200, 200);
                let found = server.ranked("k", &host.to_string(), 3).await;
                let is_fast = |holder: &&String| {
                    let holder: SocketAddr = holder.parse().expect("an address");
                    let width = if own.is_ipv4() { 24 } else { 64 };
                    common_prefix_bits(holder.ip(), own) >= Some(width)
                };
                assert!(
                    found.iter().filter(is_fast).count() >= 2,
                    "{ttl}: {found:?}"
                );
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
        }
    }
}

async fn a_count_beyond_the_limit_is_cut_to_it(engine: Engine) {
    let held = Held::new(engine, 60, v6).await;
    assert!(held.holders.len() > 1000);
    let (server, _topology) = held.serve("version: 1\n", "5s").await;
    let host = v6(500, 1).to_string();
    assert_eq!(server.ranked("k", &host, 1_000_000).await.len(), 1000);
    assert_eq!(server.ranked("k", &host, 999).await.len(), 999);
    // A find of many keys has this number of holders in all.
    let keys: Vec<_> = (0..199)
        .map(|n| format!("other-{n}"))
        .chain(["k".to_owned()])
        .collect();
    for (keys, count) in [(&keys[..], 100), (&keys[195..], 1000)] {
        let call = json!({"keys": keys, "group": "g", "count": 1_000_000, "request_host": host});
        let (status, reply) = server.post(path::FIND, &call).await;
        assert_eq!(status, 200);
        let results = reply["results"].as_array().expect("a list");
        let last = results.last().expect("one for each key");
        assert_eq!(last["peers"].as_array().map(Vec::len), Some(count));
    }
}
