//! The topology file's parser. `cargo +nightly fuzz run topology` in the directory above (with
//! `cargo install cargo-fuzz`); `topology/tests/parsing` runs the same check over random edits of
//! the example files on the stable toolchain, with all other tests.

#![no_main]

#[path = "../../topology/tests/parsing/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|text: &str| check::check(text));
