//! The node agent: containerd's first mirror, the server of this node's content to its peers, and
//! the meter of what each peer really delivers.
//!
//! The crate is a library so that its parts are tested through public edges; `main.rs` only wires.

mod admin;
pub mod app;
pub mod chunks;
pub mod cli;
pub mod config;
pub mod containerd;
pub mod content;
pub mod datapath;
pub mod digest;
pub mod discovery;
mod disk;
pub mod distribution;
pub mod ebpf;
pub mod fetch;
pub mod here;
pub mod hosts;
pub mod http;
pub mod instance;
pub mod jitter;
pub mod keeper;
mod listen;
mod memory;
pub mod mirror;
mod own;
pub mod peer;
pub mod policy;
pub mod reach;
pub mod reference;
pub mod registry;
pub mod sockets;
pub mod status;
pub mod tags;
pub mod tracker;
