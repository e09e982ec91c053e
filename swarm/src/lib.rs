//! The flash crowd's rules: which node fetches growing content from which, and which ones may fetch from
//! the registry.
//!
//! A pure library: no input or output, no clock, no randomness. Time is a parameter, as the time
//! since an origin that the caller keeps, the same in every call of one [`Swarm`]; it does not go
//! back. The server runs these rules for the keys that it owns, an agent for its rack mates while
//! no server can be reached, and the simulator for all.
//!
//! The nodes that want one key are its *herd*. Nodes of a rack take from each other in a chain, in
//! the order in which they asked; the first of them, the rack's *gateway*, takes from a node of
//! another rack, so that racks make a tree. Its root has a *permit* for the registry, or has the
//! blob already. A node takes only from nodes of an earlier [`Rank`], or from such as have it all,
//! so nobody waits in a circle.

mod answer;
mod budget;
mod change;
mod explain;
mod herd;
mod identity;
mod names;
mod pace;
mod rendezvous;
mod request;
mod rules;
mod swarm;
pub mod wire;

pub use answer::{Answer, Heard, Permit, Reason, Source, Standing, Verdict, Why};
pub use change::{Change, Event};
pub use explain::{Explanation, MemberView, Phase, RackView, Totals};
pub use identity::{Key, Rack, Rank, Registry, Zone};
pub use rendezvous::owner;
pub use request::{Fault, Join, NodePlace, Progress, Tried};
pub use rules::{Budget, Rules};
pub use swarm::Swarm;
