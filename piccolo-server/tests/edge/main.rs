//! The server through its HTTP edge.

mod deltas;
mod finds;
mod go_agents;
mod server;
