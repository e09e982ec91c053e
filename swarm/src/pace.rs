//! How fast registries have been of late, by what nodes with permits said.

use std::collections::HashMap;
use std::time::Duration;

use crate::Registry;
use crate::identity::Node;

/// Who gets less than this part of what others got, a quarter, is slow. Caches of registries and connections
/// over far networks differ by less from one layer to the next.
const PART: u64 = 4;
/// For so long a pace is remembered.
const MEMORY: Duration = Duration::from_mins(10);
/// Over so long all that one registry sends is summed.
const SPAN: Duration = Duration::from_secs(2);
/// More registries are not remembered.
const MOST: usize = 64;

/// The registries of the nodes that have reported.
#[derive(Debug, Default)]
pub(crate) struct Paces(HashMap<Registry, Pace>);

/// Bytes in a second, of one registry.
#[derive(Debug)]
struct Pace {
    /// The nodes that got the most at a time, the quickest first. Any node is beside two others, so none can invent a
    /// pace by itself.
    quickest: [Option<Measured>; 3],
    /// What all nodes together got since then.
    since: Duration,
    bytes: u64,
    /// The same in a second, over the last span, and at the best of times.
    last: u64,
    most: (u64, Duration),
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    node: Node,
    rate: u64,
    at: Duration,
}

impl Paces {
    /// A node with a permit got `bytes` more.
    pub(crate) fn add(&mut self, registry: Registry, bytes: u64, now: Duration) {
        if self.0.len() >= MOST && !self.0.contains_key(&registry) {
            let oldest = self
                .0
                .iter()
                .min_by_key(|(name, pace)| (pace.since, **name));
            let oldest = oldest.map(|(registry, _)| *registry);
            oldest.and_then(|registry| self.0.remove(&registry));
        }
        let pace = self.0.entry(registry).or_insert_with(|| Pace {
            quickest: [None; 3],
            since: now,
            bytes: 0,
            last: 0,
            most: (0, now),
        });
        pace.bytes = pace.bytes.saturating_add(bytes);
        let span = now.saturating_sub(pace.since);
        if span >= SPAN {
            pace.last = per_second(pace.bytes, span);
            (pace.since, pace.bytes) = (now, 0);
            if pace.last >= pace.most.0 || now.saturating_sub(pace.most.1) >= MEMORY {
                pace.most = (pace.last, now);
            }
        }
    }

    /// A node with a permit got `rate` bytes a second for a while. Gives whether that is little beside what two
    /// others got, at a time at which the registry is not busy with others.
    pub(crate) fn is_slow(
        &mut self,
        registry: Registry,
        node: Node,
        rate: u64,
        now: Duration,
    ) -> bool {
        let Some(pace) = self.0.get_mut(&registry) else {
            return false;
        };
        let known = pace.quickest.into_iter().flatten();
        let mut known: Vec<_> = known
            .filter(|quick| now.saturating_sub(quick.at) < MEMORY)
            .collect();
        let mut others = known.iter().filter(|quick| quick.node != node);
        let usual = others.nth(1).map(|quick| quick.rate);
        let own = Measured {
            node,
            rate,
            at: now,
        };
        match known.iter_mut().find(|quick| quick.node == node) {
            Some(quicker) if quicker.rate > rate => {}
            Some(before) => *before = own,
            None => known.push(own),
        }
        known.sort_by_key(|quick| std::cmp::Reverse(quick.rate));
        let mut known = known.into_iter();
        pace.quickest = [known.next(), known.next(), known.next()];
        let is_little = |rate: u64, usual: u64| rate.saturating_mul(PART) < usual;
        is_little(pace.last, pace.most.0) && usual.is_some_and(|usual| is_little(rate, usual))
    }

    /// A node lost its permit for its pace. If the next is as slow, it is the registry: what is remembered is
    /// believed by half from now on.
    pub(crate) fn doubt(&mut self, registry: Registry) {
        if let Some(pace) = self.0.get_mut(&registry) {
            pace.most.0 /= 2;
            for quick in pace.quickest.iter_mut().flatten() {
                quick.rate /= 2;
            }
        }
    }
}

/// Bytes in a second, of those that came in `time`.
pub(crate) fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1000 / time.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
