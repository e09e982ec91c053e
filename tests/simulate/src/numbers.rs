//! Conversions between whole numbers and floats for which the standard library has no `From`.

/// The nearest float; exact up to 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "no From exists; the rounding is wanted"
)]
pub(crate) fn float(whole: usize) -> f64 {
    whole as f64
}

/// [`float`] of 64 bits.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "no From exists; the rounding is wanted"
)]
pub(crate) fn float64(whole: u64) -> f64 {
    whole as f64
}

/// The whole part, saturating at both ends; 0 for NaN.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which is wanted"
)]
pub(crate) fn whole(float: f64) -> u64 {
    float as u64
}

/// [`whole`] as a count.
pub(crate) fn count(float: f64) -> usize {
    usize::try_from(whole(float)).unwrap_or(usize::MAX)
}
