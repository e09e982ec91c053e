//! What each peer really delivers: bytes, busy time and round trips per peer, both directions.
//!
//! The kernel counts with an eBPF program on the agent's own control group (`kernel`). Where that
//! is not available, the agent reads `TCP_INFO` of its own sockets ([`SocketTable`]). Both give
//! counters per peer that only grow; the `Ledger` turns them into what passed since the last look,
//! for metrics, for the table of peers and for the reports to the server.
//!
//! [`Accounting::attach`] comes before the peer port is listened on, [`Accounting::check`] after,
//! [`Accounting::refresh`] once per interval.

mod accounting;
mod cgroup;
mod choice;
mod error;
mod kernel;
mod ledger;
mod log;
mod metrics;
mod mode;
mod named;
mod needs;
mod own;
mod page;
mod promises;
mod sockets;
mod sums;
mod tcp_info;
mod view;

pub use accounting::{Accounting, Settings};
pub use choice::Choice;
pub use error::AccountingError;
pub(crate) use log::Reader as LogReader;
pub use metrics::METRICS;
pub use mode::{InForce, Mode, Reason};
pub use needs::{Need, needs};
pub(crate) use own::addresses as own_addresses;
pub use sockets::{Registered, SocketTable};
pub use sums::FlowSums;
pub use view::{FlowView, PeerReport, PeerView};
