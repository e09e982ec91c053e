//! pi-agent

fn main() {}
