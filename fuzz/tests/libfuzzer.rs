//! Feeds a target with what libFuzzer makes up. `cargo xtask fuzz` builds and starts it, with the target's name
//! in `FUZZ_TARGET`.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer is given a C function")]

use std::sync::LazyLock;

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(chosen);

#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer has the command line for itself"
)]
fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.check)(bytes));
