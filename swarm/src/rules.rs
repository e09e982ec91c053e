//! The rules' settings.

use std::time::Duration;

/// What the rules go by. The defaults are those of the figures in `docs/benchmarks.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How many nodes may ask the registry for a key at a time.
    pub permits: usize,
    /// Whether that is for each zone, as where the registry is near to several.
    pub permits_by_zone: bool,
    /// A permit expires when its holder is silent for this long; it reports each second.
    pub lease: Duration,
    /// A permit is lost when its holder makes no progress for this long.
    pub stall: Duration,
    /// How long a permit that was lost is kept for the next in rank, and a place at another rack for a
    /// rack's next gateway.
    pub offer: Duration,
    /// A node that has waited this long for its first byte may go to the registry, within the
    /// budget.
    pub patience: Duration,
    /// How many may do so.
    pub budget: Budget,
    /// From how many nodes of one rack a gateway takes, at most; 1 to [`Rules::MOST_STRIPES`].
    pub stripes: usize,
    /// How many gateways take from one rack, at most.
    pub fan: usize,
    /// How many nodes a chain has, at most; a rack with more has several, one behind the other.
    pub chain: usize,
    /// What one hop from node to node is presumed to delay the first bytes.
    pub hop: Duration,
    /// A node that is presumed to have its first bytes so soon counts as having them.
    pub horizon: Duration,
    /// After a start no permit is given for this long: nodes that hold one report it meanwhile.
    pub hush: Duration,
    /// A node that is silent for this long is gone.
    pub silence: Duration,
    /// A key is dropped when no node wants it and no call was about it for this long.
    pub settle: Duration,
    /// How many nodes are remembered, counted once for each key that they want.
    pub most_members: usize,
    /// How many keys of one node are remembered.
    pub most_keys_of_node: usize,
}

/// The token bucket for going to the registry without a permit, over all keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// How many at once.
    pub burst: u32,
    /// After how long one more may go.
    pub refill: Duration,
}

impl Rules {
    /// More sources than this no node is given.
    pub const MOST_STRIPES: usize = 8;

    /// From how many nodes a gateway should take whose NIC carries `nic` and that takes `pace` at
    /// most, both in the same unit: each of its sources has to feed its own chain at that pace, and
    /// its share of the gateway beside. One where NICs carry two such streams, as each stripe costs
    /// a chunk of lag.
    pub fn stripes_for(&self, nic: f64, pace: f64) -> usize {
        let fits = |stripes: &usize| {
            let stripes = u32::try_from(*stripes).map_or(f64::INFINITY, f64::from);
            pace + pace / stripes <= nic
        };
        (1..self.stripes).find(fits).unwrap_or(self.stripes.max(1))
    }

    /// The settings that are in force: what makes no sense is brought to the nearest that does.
    pub(crate) fn sane(mut self) -> Self {
        self.permits = self.permits.max(1);
        self.stripes = self.stripes.clamp(1, Self::MOST_STRIPES);
        self.fan = self.fan.clamp(1, 1 << 10);
        self.chain = self.chain.clamp(1, 1 << 10);
        self.budget.refill = self.budget.refill.max(Duration::from_millis(1));
        self.most_members = self.most_members.clamp(1, 1 << 26);
        self.most_keys_of_node = self.most_keys_of_node.max(1);
        self
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            permits: 1,
            permits_by_zone: false,
            lease: Duration::from_secs(3),
            stall: Duration::from_secs(2),
            offer: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            budget: Budget {
                burst: 4,
                refill: Duration::from_millis(250),
            },
            stripes: 5,
            fan: 4,
            chain: 64,
            hop: Duration::from_millis(3),
            horizon: Duration::from_millis(20),
            hush: Duration::from_millis(1500),
            silence: Duration::from_secs(90),
            settle: Duration::from_secs(15),
            most_members: 1_000_000,
            most_keys_of_node: 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_are_as_few_as_the_nic_needs() {
        let rules = Rules::default();
        let stripes = [4.0, 5.0, 6.0, 7.0, 10.0, 50.0].map(|pace| rules.stripes_for(10.0, pace));
        assert_eq!(stripes, [1, 1, 2, 3, rules.stripes, rules.stripes]);
        assert_eq!(rules.stripes_for(f64::NAN, 1.0), rules.stripes);
    }
}
