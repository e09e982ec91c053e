//! The kernel's accounting on the running kernel: exact bytes, true rates, its rights and its limits.
//!
//! The traffic is made by `ebpf-traffic`, in a control group of its own; both ends of a connection
//! are counted.

mod bytes;
mod lab;
mod limits;
mod modes;
mod places;
mod pull;
mod rates;
mod rights;
