//! The server through its HTTP edge.

mod deltas;
mod engine;
mod finds;
mod go_agents;
mod liveness;
mod reports;
mod server;
