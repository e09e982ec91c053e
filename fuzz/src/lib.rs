//! What holds for all that a stranger may send: a target for each parser of foreign bytes.
//!
//! `cargo xtask fuzz` gives them to libFuzzer (`tests/libfuzzer.rs`). The inputs below `corpus/` are run with
//! all other tests (`tests/corpus.rs`).

mod calls;
mod chunks;
mod counters;
mod databases;
mod first_bytes;
mod framing;
mod hosts;
mod input;
mod manifest;
mod model;
mod rack;
mod ranges;
mod references;
mod request_head;
mod response_head;
mod stand;
mod states;
mod target;
mod topology_file;

/// A parser of foreign bytes, and what holds for it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directory below `corpus/`.
    pub name: &'static str,
    /// Panics if one of these bytes makes something untrue.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    target("calls", calls::check),
    target("chunks", chunks::check),
    target("counters", counters::check),
    target("databases", databases::check),
    target("first-bytes", first_bytes::check),
    target("framing", framing::check),
    target("hosts", hosts::check),
    target("manifest", manifest::check),
    target("rack", rack::check),
    target("ranges", ranges::check),
    target("references", references::check),
    target("request-head", request_head::check),
    target("response-head", response_head::check),
    target("states", states::check),
    target("target", target::check),
    target("topology", topology_file::check),
];

const fn target(name: &'static str, check: fn(&[u8])) -> Target {
    Target { name, check }
}

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}
