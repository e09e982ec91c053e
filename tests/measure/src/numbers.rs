//! Conversions that the standard library has no `From` for.

/// The nearest float; exact up to 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "no From exists; the rounding is wanted"
)]
pub(crate) fn float(whole: u64) -> f64 {
    whole as f64
}

/// An index as a number of 64 bits.
pub(crate) fn wide(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

/// A number as an index.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
