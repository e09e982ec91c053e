//! Feeds a target with what libFuzzer makes up. `cargo xtask fuzz` builds and starts it, with the target's name
//! in `FUZZ_TARGET`.
//!
//! Where nothing is instrumented, libFuzzer is told of each of the inputs in the directory `FUZZ_SEEDS` that it
//! reaches something of its own, and nothing else does: then it makes all others from these, and the same ones in
//! each run, whatever the target does with them.

#![no_main]
#![allow(
    unsafe_code,
    reason = "libFuzzer is given a C function, and counters in a section of the program"
)]

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(chosen);
static SEEDS: LazyLock<HashMap<Vec<u8>, usize>> = LazyLock::new(seeds);

/// More than a target has committed inputs. libFuzzer clears and reads them around each input.
// SAFETY: the section has bytes that libFuzzer writes, and nothing else is in it.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static REACHED: [AtomicU8; 4096] = [const { AtomicU8::new(0) }; 4096];

#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer has the command line for itself"
)]
fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
}

/// The inputs, each with its place in the order of their names.
#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer has the command line for itself"
)]
fn seeds() -> HashMap<Vec<u8>, usize> {
    let Ok(directory) = std::env::var("FUZZ_SEEDS") else {
        return HashMap::new();
    };
    let entries = fs::read_dir(Path::new(&directory)).expect("the directory FUZZ_SEEDS");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let read = files.iter().map(|file| fs::read(file).expect("an input"));
    read.enumerate()
        .map(|(place, seed)| (seed, place))
        .collect()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let seed = SEEDS.get(bytes);
    if let Some(reached) = seed.and_then(|place| REACHED.get(*place)) {
        reached.store(1, Relaxed);
    }
    (TARGET.check)(bytes);
});
