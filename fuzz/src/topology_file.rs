//! The topology file: the parser neither panics nor hangs, a file that it takes can be used, and one that it
//! does not take is told why. `topology/tests/parsing` makes the same check of random edits of the examples.

#[path = "../../topology/tests/parsing/check.rs"]
mod check;

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check::check(text);
    }
}
