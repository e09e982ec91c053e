//! Pulls through the mirror, from peers that serve well and from peers that do not.

#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

mod bed;
mod between;
mod chunks;
mod client;
mod conformance;
mod counted;
mod crowd;
mod damaged;
mod fake;
mod faults;
mod feeder;
mod framing;
mod full;
mod joining;
mod kinds;
mod manifests;
mod nobodys;
mod openness;
mod private;
mod promised;
mod ranges;
mod serving;
mod silent;
mod slow;
mod striped;
mod tls;
mod tls_ends;
mod trust;
mod waiting;
