//! Percent-encoding of paths and queries (RFC 3986, section 2.1).

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The characters encoded in a query: all but RFC 3986's unreserved ones and `/`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Decodes `%41`; a `+` stays a `+`. `None` when an escape is no two digits or the result is no
/// UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    // The library leaves such an escape as it is, and the name would be another one.
    let mut escapes = text.split('%').skip(1);
    let whole = |escape: &str| {
        let digits = escape.bytes().take(2);
        digits.filter(u8::is_ascii_hexdigit).count() == 2
    };
    if !escapes.all(whole) {
        return None;
    }
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// Encodes a value so that it can stand in a query.
pub(crate) fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}
