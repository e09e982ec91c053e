//! Generates the clients and the messages of containerd's CRI services from `proto/cri.proto`. The
//! crate `containerd-client` needs `protoc` as well.

const DEFINITIONS: &str = "proto/cri.proto";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={DEFINITIONS}");
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&[DEFINITIONS], &["proto"])
}
