//! Places of hosts in the network, capacities of the links between them, and ranking of peers.
//!
//! A pure library: no input or output, no clock, no randomness of its own. Time is a parameter,
//! as the time since an origin that the caller keeps; randomness is a seed.

mod address;
mod candidate;
mod estimate;
mod file;
mod mix;
mod model;
mod numbers;
mod path;
mod place;
mod rack;
mod rank;
mod ranking;
mod rate;
mod sample;
mod suggest;
mod table;

pub use address::{closeness, common_prefix_bits};
pub use candidate::{Candidate, HolderState, Load};
pub use estimate::{Estimate, Estimates, Row, Sums};
pub use file::{FileError, FileErrors, Problem, schema};
pub use model::Topology;
pub use path::Link;
pub use place::{Place, Uplink};
pub use rack::RackId;
pub use rank::{
    BandwidthTerm, Explanation, LoadTerm, Placement, PrefixTerm, Query, TreeTerm, attractive_racks,
    explain, rank,
};
pub use ranking::{Ranking, Weights};
pub use rate::Rate;
pub use sample::{Bound, Sample, Verdict};
pub use suggest::suggest;
