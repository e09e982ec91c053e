//! A first topology file, from the addresses of the nodes and from what was measured between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::{Estimates, RackId, Rate, Topology};

/// Racks belong together if what lies between them is at least this share of the fastest that
/// either has to any other.
const TOGETHER: f64 = 0.5;

/// An estimate with a lower share of observation is ignored.
const CONFIDENT: f64 = 0.3;

/// A topology file that says what is known now: a rack for each address prefix, and zones of racks
/// between which transfers were about as fast as any. It is for an operator to correct.
pub fn suggest(
    addresses: impl IntoIterator<Item = IpAddr>,
    estimates: &Estimates,
    now: Duration,
) -> String {
    let guesses = Topology::default();
    let mut hosts: BTreeMap<RackId, BTreeSet<IpAddr>> = BTreeMap::new();
    for ip in addresses {
        hosts
            .entry(guesses.locate(ip))
            .or_default()
            .insert(ip.to_canonical());
    }
    let racks: Vec<RackId> = hosts.keys().copied().collect();
    let measured = Measured::new(&racks, &guesses, estimates, now);
    let zones = measured.zones(&racks);
    let mut file = String::from(
        "# A first draft, from the nodes' addresses and from what was measured between them.\n\
         # Correct it: names, which racks share a switch, and the links' capacities.\n\
         version: 1\n",
    );
    if racks.is_empty() {
        return file;
    }
    file.push_str("tree:\n");
    let count = |rack: &RackId| hosts.get(rack).map_or(0, BTreeSet::len);
    for (number, zone) in zones.iter().enumerate() {
        let indent = if zones.len() > 1 {
            let name = format!(
                "  - name: zone-{}\n    kind: zone\n    children:\n",
                number + 1
            );
            file.push_str(&name);
            "      "
        } else {
            "  "
        };
        for rack in zone {
            // Writing to a string does not fail.
            let _ = entry(
                &mut file,
                indent,
                *rack,
                count(rack),
                measured.fastest(*rack),
            );
        }
    }
    file
}

fn entry(
    file: &mut String,
    indent: &str,
    rack: RackId,
    hosts: usize,
    fastest: Option<Rate>,
) -> std::fmt::Result {
    let prefix = rack.to_string();
    let words = prefix
        .split(['.', ':', '/'])
        .filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("-");
    let seen = fastest.map(|rate| format!(", up to {rate} seen to other racks"));
    writeln!(
        file,
        "{indent}- name: rack-{name}  # nodes: {hosts}{}",
        seen.unwrap_or_default()
    )?;
    writeln!(file, "{indent}  kind: rack")?;
    writeln!(file, "{indent}  cidrs: ['{prefix}']")
}

/// What was observed between different racks.
struct Measured {
    /// The slower of the two directions.
    rates: BTreeMap<(RackId, RackId), Rate>,
    /// Fastest observed path per rack.
    fastest: BTreeMap<RackId, Rate>,
}

impl Measured {
    fn new(racks: &[RackId], guesses: &Topology, estimates: &Estimates, now: Duration) -> Self {
        let mut rates = BTreeMap::new();
        for (from, to) in estimates.pairs() {
            let known = |rack| racks.binary_search(rack).is_ok();
            let estimate = estimates.estimate(now, guesses, from, to);
            let confident = estimate.confidence >= CONFIDENT;
            let Some(observed) = estimate.observed.filter(|_| confident && from != to) else {
                continue;
            };
            if known(&from) && known(&to) {
                let pair = (from.min(to), from.max(to));
                let rate = rates
                    .get(&pair)
                    .map_or(observed, |other: &Rate| observed.min(*other));
                rates.insert(pair, rate);
            }
        }
        let mut fastest: BTreeMap<RackId, Rate> = BTreeMap::new();
        for ((a, b), rate) in &rates {
            for rack in [a, b] {
                let best = fastest.entry(*rack).or_insert(*rate);
                *best = best.max(*rate);
            }
        }
        Self { rates, fastest }
    }

    fn fastest(&self, rack: RackId) -> Option<Rate> {
        self.fastest.get(&rack).copied()
    }

    /// The racks, together if a chain of fast pairs connects them; those of which nothing is known
    /// are together too.
    fn zones(&self, racks: &[RackId]) -> Vec<Vec<RackId>> {
        let unknown = racks.iter().find(|rack| self.fastest(**rack).is_none());
        let alone = |rack: &RackId| match unknown {
            Some(unknown) if self.fastest(*rack).is_none() => *unknown,
            _ => *rack,
        };
        let mut zone: BTreeMap<RackId, RackId> =
            racks.iter().map(|rack| (*rack, alone(rack))).collect();
        for ((a, b), rate) in &self.rates {
            let near = |rack| {
                self.fastest(rack)
                    .is_some_and(|best| *rate >= best.times(TOGETHER))
            };
            if near(*a) && near(*b) {
                let (Some(from), Some(to)) = (zone.get(b).copied(), zone.get(a).copied()) else {
                    continue;
                };
                if from == to {
                    continue;
                }
                for zone in zone.values_mut().filter(|zone| **zone == from) {
                    *zone = to;
                }
            }
        }
        let mut zones: BTreeMap<RackId, Vec<RackId>> = BTreeMap::new();
        for (rack, zone) in zone {
            zones.entry(zone).or_default().push(rack);
        }
        zones.into_values().collect()
    }
}
