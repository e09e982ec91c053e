//! Per-peer TCP accounting: what the kernel's program and the agent share.
//!
//! The layout of the maps ([`PeerKey`], [`Counters`], [`Connection`], the names in [`names`]) and the
//! arithmetic that turns a socket's progress into bytes and busy time. The program in `program/`
//! calls the same functions that the tests here call, and so does the agent where it has to count in
//! user space.
//!
//! Throughput over any window is the growth of `rated_bytes` over the growth of `busy_ns`.

#![no_std]

mod connection;
mod counters;
mod fin;
mod flow;
mod key;
pub mod names;
mod policy;
mod progress;
mod promise;
mod union;
mod watch;
mod word;

pub use connection::{Connection, Growth};
pub use counters::{Counters, Traffic};
pub use fin::{Fin, Tcp};
pub use flow::Flow;
pub use key::PeerKey;
pub use policy::Policy;
pub use progress::{Position, Progress};
pub use promise::Promise;
pub use watch::{Callbacks, Watch};
pub use word::Word;
