//! Holders written as JSON, without a value for each on the way: most of what a find costs besides
//! the look-up would be formatting.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;
use topology::{Candidate, RackId, State};

use crate::finder::Found;

/// `["10.0.0.1:7787",...]`
pub(crate) fn addresses(out: &mut Vec<u8>, candidates: &[Candidate]) {
    list(out, candidates, |out, candidate| {
        address(out, candidate.holder);
    });
}

/// `[{"addr":"10.0.0.1:7787","rack":"r1","state":"complete","score":0.875},...]`
pub(crate) fn described(out: &mut Vec<u8>, found: &Found) {
    // Candidates of a rack mostly stand together.
    let mut rack: Option<(RackId, Vec<u8>)> = None;
    list(out, &found.candidates, |out, candidate| {
        out.extend_from_slice(b"{\"addr\":");
        address(out, candidate.holder);
        out.extend_from_slice(b",\"rack\":");
        let id = candidate.rack();
        let name = match &rack {
            Some((known, name)) if *known == id => name,
            _ => &rack.insert((id, quoted(&found.topology.rack_name(id)))).1,
        };
        out.extend_from_slice(name);
        out.extend_from_slice(match candidate.state {
            State::Complete => b",\"state\":\"complete\",\"score\":".as_slice(),
            State::Fetching => b",\"state\":\"fetching\",\"score\":",
        });
        score(out, candidate.score());
        out.push(b'}');
    });
}

/// A quoted and escaped string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    value(out, text);
}

fn quoted(name: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(name.len() + 2);
    value(&mut quoted, name);
    quoted
}

fn list(out: &mut Vec<u8>, candidates: &[Candidate], write: impl FnMut(&mut Vec<u8>, &Candidate)) {
    let mut write = write;
    out.push(b'[');
    for (n, candidate) in candidates.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, candidate);
    }
    out.push(b']');
}

fn address(out: &mut Vec<u8>, address: SocketAddr) {
    let IpAddr::V4(ip) = address.ip() else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{address}\"");
        return;
    };
    out.push(b'"');
    for (n, octet) in ip.octets().into_iter().enumerate() {
        if n > 0 {
            out.push(b'.');
        }
        digits(out, octet.into(), 1);
    }
    out.push(b':');
    digits(out, address.port().into(), 1);
    out.push(b'"');
}

/// Four decimals; comparable within one answer only, so that more would say nothing.
fn score(out: &mut Vec<u8>, score: f64) {
    let score = if score.is_finite() { score } else { 0.0 };
    if score < 0.0 {
        out.push(b'-');
    }
    let parts = (score.abs() * 1e4).round().min(f64::from(u32::MAX));
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the bounds of the type"
    )]
    let parts = parts as u32;
    digits(out, parts / 10_000, 1);
    out.push(b'.');
    digits(out, parts % 10_000, 4);
}

/// A number with at least `least` digits.
fn digits(out: &mut Vec<u8>, number: u32, least: usize) {
    let mut text = [b'0'; 10];
    let mut rest = number;
    let mut length = 0;
    for place in text.iter_mut().rev() {
        if rest == 0 && length >= least {
            break;
        }
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        length += 1;
    }
    let written = text.len() - length;
    out.extend_from_slice(text.get(written..).unwrap_or_default());
}

fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Neither can writing text and numbers as JSON.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_the_standard_library_does(holder: SocketAddr) {
            let text = written(|out| address(out, holder));
            prop_assert_eq!(text, format!("\"{holder}\""));
        }

        #[test]
        fn scores_have_four_decimals(number in -10.0..10.0_f64) {
            let text = written(|out| score(out, number));
            let read: f64 = serde_json::from_str(&text).expect("a number");
            prop_assert!((read - number).abs() <= 0.000_051, "{} {}", text, number);
        }
    }
}
