//! The discovery server: who has a key, and whom of them to ask first.
//!
//! The crate is a library so that tests drive it through its listeners; the binary only wires it.

pub mod app;
pub mod config;

mod api;
mod databases;
mod finder;
mod flusher;
mod key_hash;
mod nodes;
mod packed;
mod realm;
mod spaces;
mod store;
mod writer;
