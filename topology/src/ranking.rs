//! The ranking's settings, from the file's `ranking` section.

use std::time::Duration;

use serde::Serialize;

use crate::Rate;

/// Settings of the ranking. Every knob has a default; [`crate::Topology::ranking`] gives those in
/// force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranking {
    pub weights: Weights,
    /// Scores this close to the best remaining one are equal: the seeded hash and the load decide.
    pub tier_width: f64,
    /// The share of an answer that is kept for holders outside the requester's rack.
    pub remote_share: f64,
    /// The share of finds that try a path again that was slow when it was last measured.
    pub probe_share: f64,
    /// The rate that scores 0.
    pub slowest: Rate,
    /// The rate that scores 1.
    pub fastest: Rate,
    /// How long until half of what was observed is forgotten.
    pub half_life: Duration,
    /// How long until half of the load of a path is forgotten.
    pub load_half_life: Duration,
    /// How many samples the declared bandwidth is worth.
    pub prior_weight: f64,
    /// Samples of fewer bytes are left out.
    pub smallest_sample: u64,
}

/// How much each term of the score counts. Those of prefix, tree and bandwidth are relative to
/// their sum; load is taken off the score that they give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Weights {
    pub prefix: f64,
    pub tree: f64,
    pub bandwidth: f64,
    pub load: f64,
}

impl Ranking {
    pub(crate) const DEFAULT: Self = Self {
        weights: Weights {
            prefix: 0.15,
            tree: 0.25,
            bandwidth: 0.6,
            load: 0.25,
        },
        tier_width: 0.05,
        remote_share: 0.1,
        probe_share: 0.05,
        slowest: Rate::from_bits_per_second(10e6),
        fastest: Rate::from_bits_per_second(100e9),
        half_life: Duration::from_mins(10),
        load_half_life: Duration::from_secs(25),
        prior_weight: 2.0,
        smallest_sample: 1 << 20,
    };
}

impl Default for Ranking {
    fn default() -> Self {
        Self::DEFAULT
    }
}
