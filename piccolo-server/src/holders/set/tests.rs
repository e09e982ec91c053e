//! A holder set holds what a sorted set does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn packed(ip: u32) -> Packed {
    Packed::new(ip_of(ip), 7787)
}

fn ip_of(low: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + low).into()
}

/// Sets of racks, of hosts with several ports, and of addresses from anywhere, some of them of
/// several blocks.
fn holders() -> impl Strategy<Value = (Family, Vec<Packed>)> {
    let port = prop_oneof![Just(7787_u16), 1..=u16::MAX];
    let near = (0..2000_u32).prop_map(ip_of);
    let v4 = prop_oneof![near, any::<Ipv4Addr>().prop_map(IpAddr::from)];
    let v6 = any::<Ipv6Addr>().prop_map(IpAddr::from);
    let some = |family, ip: BoxedStrategy<IpAddr>| {
        let holder = (ip, port.clone()).prop_map(|(ip, port)| Packed::new(ip, port));
        let is_one = move |h: &Packed| h.holder().is_some() && h.family() == family;
        let all = prop::collection::vec(holder, 0..700);
        all.prop_map(move |all| (family, all.into_iter().filter(is_one).collect()))
    };
    prop_oneof![some(Family::V4, v4.boxed()), some(Family::V6, v6.boxed())]
}

fn all(set: &HolderSet) -> Vec<Packed> {
    let spots = set.blocks.iter().flat_map(Block::holders);
    spots.map(|spot| spot.holder(set.family)).collect()
}

proptest! {
    #[test]
    fn what_is_packed_comes_out_again(
        (family, mut holders) in holders(),
        from in any::<prop::sample::Index>(),
        steps in 0..900_usize,
    ) {
        holders.sort_unstable();
        holders.dedup();
        let set = HolderSet::from_sorted(family, &holders);
        prop_assert_eq!(set.len(), holders.len());
        prop_assert_eq!(&all(&set), &holders);
        let Some(last) = holders.len().checked_sub(1) else { return Ok(()) };
        let from = from.index(last + 1);
        let around = holders[from];
        prop_assert_eq!(&set.from(around).collect::<Vec<_>>(), &holders[from..]);

        let mut nearest = set.nearest(around);
        let mut outwards: Vec<_> = nearest.by_ref().take(steps).collect();
        let visited = nearest.visited();
        for holder in &holders {
            prop_assert_eq!(visited.contains(*holder), outwards.contains(holder));
        }
        prop_assert_eq!(visited.covers(holders[0], holders[last]), steps > last);
        outwards.sort_unstable();
        prop_assert_eq!(outwards.len(), steps.min(holders.len()));
    }

    #[test]
    fn a_holder_set_is_a_sorted_set(
        (family, holders) in holders(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..400),
        around in any::<prop::sample::Index>(),
    ) {
        if holders.is_empty() {
            return Ok(());
        }
        let mut set = HolderSet::new(family);
        let mut expected = std::collections::BTreeSet::new();
        let sure = holders.iter().map(|holder| (*holder, true));
        let changes = changes.iter().map(|(index, there)| (holders[index.index(holders.len())], *there));
        for (holder, there) in sure.chain(changes) {
            if there {
                set.insert(holder);
                expected.insert(holder);
            } else {
                set.remove(holder);
                expected.remove(&holder);
            }
        }
        let held = all(&set);
        prop_assert_eq!(&held, &expected.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(set.len(), held.len());

        let around = holders[around.index(holders.len())].holder().expect("a holder").ip();
        let mut outwards: Vec<_> = set.nearest(Packed::new(around, 0)).collect();
        let bits = |holder: &Packed| {
            let ip = holder.holder().map(|holder| holder.ip());
            ip.and_then(|ip| topology::common_prefix_bits(ip, around))
        };
        prop_assert!(outwards.windows(2).all(|w| bits(&w[0]) >= bits(&w[1])), "{:?}", outwards);
        outwards.sort_unstable();
        prop_assert_eq!(outwards, held);
    }
}

/// What the cache's bounds are made for.
#[test]
fn a_set_of_racks_takes_less_than_two_bytes_a_holder() {
    let racks = (0..250).flat_map(|rack| (1..=40).map(move |host| packed(rack * 256 + host)));
    let holders: Vec<_> = racks.collect();
    let set = HolderSet::from_sorted(Family::V4, &holders);
    assert!(set.bytes() < 2 * holders.len(), "{}", set.bytes());
}
