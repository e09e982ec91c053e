//! Conversions between integers and floats for which the standard library has no `From`.

/// The nearest float; exact up to 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "no From exists; the rounding is wanted"
)]
pub(crate) fn float(whole: u64) -> f64 {
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

/// How many there are, as a float.
pub(crate) fn count(items: usize) -> f64 {
    float(u64::try_from(items).unwrap_or(u64::MAX))
}

/// `value`, or `fallback` where it is no number between the bounds.
pub(crate) fn within(value: f64, least: f64, most: f64, fallback: f64) -> f64 {
    if value.is_nan() {
        fallback
    } else {
        value.clamp(least, most)
    }
}
