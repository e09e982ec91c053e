//! Each target over its committed inputs.

#![expect(
    clippy::print_stdout,
    reason = "the output of a test that fails names its input"
)]

use std::{fs, path::Path};

use fuzz::{TARGETS, Target};

/// Bytes of all inputs, so that they stay a part of the sources.
const MOST: usize = 500 << 10;

fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{name}: {error}"));
    let files = entries.map(|entry| entry.expect("an entry").path());
    let read = files.map(|file| {
        (
            file.display().to_string(),
            fs::read(&file).expect("an input"),
        )
    });
    read.collect()
}

fn check(name: &str) {
    let target = Target::named(name).expect("a target");
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "{name} has no inputs");
    for (file, bytes) in inputs {
        println!("{file}");
        (target.check)(&bytes);
    }
}

#[test]
fn each_target_has_its_inputs_and_they_are_few() {
    let all = TARGETS.iter().flat_map(|target| inputs(target.name));
    let size: usize = all.map(|(_, bytes)| bytes.len()).sum();
    assert!(
        size < MOST,
        "{size} bytes of inputs: `cargo xtask fuzz --merge` leaves out what adds nothing"
    );
}

macro_rules! targets {
    ($($test:ident $name:literal;)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn each_target_is_run() {
            let run = [$($name),*];
            assert_eq!(run, TARGETS.map(|target| target.name));
        }
    };
}

targets! {
    calls "calls";
    chunks "chunks";
    counters "counters";
    databases "databases";
    first_bytes "first-bytes";
    framing "framing";
    hosts "hosts";
    manifest "manifest";
    rack "rack";
    ranges "ranges";
    references "references";
    request_head "request-head";
    response_head "response-head";
    states "states";
    target "target";
    topology "topology";
}
