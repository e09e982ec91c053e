//! The server through its HTTP edge.

mod access;
mod audits;
mod away;
mod crashes;
mod crowd;
mod deltas;
mod engine;
mod finds;
mod galera;
mod go_agents;
mod groups;
mod instances;
mod lasting;
mod limits;
mod liveness;
mod nearest;
mod operations;
mod plans;
mod pressure;
mod process;
mod proxy;
mod raw;
mod reports;
mod server;
mod sql;
mod tls;
