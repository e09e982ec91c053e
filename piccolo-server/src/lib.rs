//! The discovery server: who has a key, and whom of them to ask first.
//!
//! The crate is a library so that tests drive it through its listeners; the binary only wires it.

pub mod app;
mod auditor;
pub mod cli;
pub mod config;
pub mod pki;
pub mod signer;

mod api;
mod bandwidth;
mod connections;
mod crowd;
mod database;
mod databases;
mod evictor;
mod finder;
mod flusher;
mod holders;
mod instances;
mod key_hash;
mod lease;
mod mates;
mod nodes;
mod packed;
mod patience;
mod quick_hash;
mod reports;
mod spaces;
mod store;
mod tags;
mod topology_file;
mod writer;
