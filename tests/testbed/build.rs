//! Generates the clients and the messages of containerd's CRI services from `proto/cri.proto`, without
//! `protoc`: xtask, which installs that for the agent, is built with this crate.

use std::error::Error;

const DEFINITIONS: &str = "proto/cri.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DEFINITIONS}");
    let definitions = protox::compile([DEFINITIONS], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(definitions)?;
    Ok(())
}
