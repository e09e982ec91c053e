//! The node agent: containerd's first mirror, the server of this node's content to its peers, and
//! the meter of what each peer really delivers.
//!
//! The crate is a library so that its parts are tested through public edges; `main.rs` only wires.

pub mod config;
pub mod containerd;
pub mod content;
pub mod digest;
pub mod discovery;
pub mod jitter;
pub mod metric;
pub mod policy;
pub mod reference;
pub mod registry;
