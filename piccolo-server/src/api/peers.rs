//! Holders written as JSON, without a value for each on the way: most of what a find costs besides
//! the look-up would be formatting.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
};

use ipnetwork::IpNetwork;
use serde::Serialize;
use topology::{Candidate, HolderState, RackId, Topology};

use crate::finder::Found;

/// `["10.0.0.1:7787",...]`, what stands between, and [`described`].
pub(crate) fn twice(out: &mut Vec<u8>, between: &[u8], found: &Found) {
    let mut peers = Vec::with_capacity(found.candidates.len() * 96);
    let mut racks = Racks::default();
    list(out, &found.candidates, |out, candidate| {
        let begin = out.len();
        address(out, candidate.holder);
        if !peers.is_empty() {
            peers.push(b',');
        }
        peers.extend_from_slice(b"{\"addr\":");
        peers.extend_from_slice(out.get(begin..).unwrap_or_default());
        rest(&mut peers, found, candidate, &mut racks);
    });
    out.extend_from_slice(between);
    out.push(b'[');
    out.append(&mut peers);
    out.push(b']');
}

/// `[{"addr":"10.0.0.1:7787","rack":"r1","state":"complete","score":0.875},...]`
pub(crate) fn described(out: &mut Vec<u8>, found: &Found) {
    let mut racks = Racks::default();
    list(out, &found.candidates, |out, candidate| {
        out.extend_from_slice(b"{\"addr\":");
        address(out, candidate.holder);
        rest(out, found, candidate, &mut racks);
    });
}

fn list(
    out: &mut Vec<u8>,
    candidates: &[Candidate],
    mut write: impl FnMut(&mut Vec<u8>, &Candidate),
) {
    out.push(b'[');
    for (n, candidate) in candidates.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, candidate);
    }
    out.push(b']');
}

/// The text after the address.
fn rest(out: &mut Vec<u8>, found: &Found, candidate: &Candidate, racks: &mut Racks) {
    out.extend_from_slice(b",\"rack\":");
    racks.name(out, &found.topology, candidate.rack());
    out.extend_from_slice(match candidate.state {
        HolderState::Complete => b",\"state\":\"complete\",\"score\":".as_slice(),
        HolderState::Fetching => b",\"state\":\"fetching\",\"score\":",
    });
    score(out, candidate.score());
    out.push(b'}');
}

/// Where the names of racks were already written: an answer has many holders of few racks, and
/// formatting the names would cost more than the rest.
#[derive(Debug, Default)]
struct Racks(Vec<(RackId, Range<usize>)>);

/// Most racks of one answer whose names are cached.
const RACKS: usize = 32;

impl Racks {
    fn name(&mut self, out: &mut Vec<u8>, topology: &Topology, rack: RackId) {
        if let Some(IpNetwork::V4(network)) = rack.guessed_prefix() {
            let mut text = Backwards::default();
            text.byte(b'"');
            text.octet(network.prefix());
            text.byte(b'/');
            text.ipv4(network.ip());
            text.byte(b'"');
            out.extend_from_slice(text.written());
            return;
        }
        let known = self.0.iter().rev().find(|(known, _)| *known == rack);
        if let Some((_, name)) = known {
            out.extend_from_within(name.clone());
            return;
        }
        let begin = out.len();
        value(out, &*topology.rack_name(rack));
        if self.0.len() < RACKS {
            self.0.push((rack, begin..out.len()));
        }
    }
}

/// Any value.
pub(crate) fn json(out: &mut Vec<u8>, written: &impl Serialize) {
    value(out, written);
}

/// A quoted and escaped string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    value(out, text);
}

fn address(out: &mut Vec<u8>, address: SocketAddr) {
    let IpAddr::V4(ip) = address.ip() else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{address}\"");
        return;
    };
    let mut text = Backwards::default();
    text.byte(b'"');
    text.number(address.port().into(), 1);
    text.byte(b':');
    text.ipv4(ip);
    text.byte(b'"');
    out.extend_from_slice(text.written());
}

/// Four decimals; comparable within one answer only, so that more would say nothing.
fn score(out: &mut Vec<u8>, score: f64) {
    let score = if score.is_finite() { score } else { 0.0 };
    let parts = (score.abs() * 1e4).round().min(f64::from(u32::MAX));
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the bounds of the type"
    )]
    let parts = parts as u32;
    let mut text = Backwards::default();
    text.number(parts % 10_000, 4);
    text.byte(b'.');
    text.number(parts / 10_000, 1);
    if score < 0.0 {
        text.byte(b'-');
    }
    out.extend_from_slice(text.written());
}

/// A short text that is written from its end to its beginning, as the digits of numbers come.
#[derive(Debug, Default)]
struct Backwards {
    text: [u8; 32],
    length: usize,
}

/// Each octet as three digits, and how many of them are no zeros before it.
static OCTETS: [([u8; 3], usize); 256] = octets();

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would say so"
)]
const fn octets() -> [([u8; 3], usize); 256] {
    let mut octets = [([0; 3], 0); 256];
    let mut n = 0;
    while n < octets.len() {
        let digits = [n / 100, n / 10 % 10, n % 10];
        let text = [
            b'0' + digits[0] as u8,
            b'0' + digits[1] as u8,
            b'0' + digits[2] as u8,
        ];
        let length = 1 + (n >= 10) as usize + (n >= 100) as usize;
        octets[n] = (text, length);
        n += 1;
    }
    octets
}

impl Backwards {
    fn byte(&mut self, byte: u8) {
        self.length += 1;
        let place = self.text.len().checked_sub(self.length);
        if let Some(place) = place.and_then(|place| self.text.get_mut(place)) {
            *place = byte;
        }
    }

    /// A number with at least `least` digits.
    fn number(&mut self, number: u32, least: usize) {
        let mut rest = number;
        let mut digits = 0;
        while rest != 0 || digits < least {
            self.byte(b'0' + u8::try_from(rest % 10).unwrap_or(0));
            rest /= 10;
            digits += 1;
        }
    }

    fn octet(&mut self, octet: u8) {
        let (digits, length) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
        // What comes before a shorter one overwrites its zeros.
        let end = self.text.len().saturating_sub(self.length);
        let place = self.text.get_mut(end.saturating_sub(3)..end);
        if let Some(place) = place.and_then(|place| <&mut [u8; 3]>::try_from(place).ok()) {
            *place = digits;
            self.length += length;
        }
    }

    fn ipv4(&mut self, ip: Ipv4Addr) {
        let [a, b, c, d] = ip.octets();
        self.octet(d);
        for octet in [c, b, a] {
            self.byte(b'.');
            self.octet(octet);
        }
    }

    fn written(&self) -> &[u8] {
        let begin = self.text.len().saturating_sub(self.length);
        self.text.get(begin..).unwrap_or_default()
    }
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
        fn racks_are_named_as_their_prefix_is(ip: Ipv4Addr, bits in 0_u8..=32) {
            let name = format!("{ip}/{bits}");
            let rack = RackId::from_name(&name);
            let topology = Topology::default();
            let text = written(|out| Racks::default().name(out, &topology, rack));
            prop_assert_eq!(text, format!("\"{}\"", topology.rack_name(rack)));
        }

        #[test]
        fn scores_have_four_decimals(number in -10.0..10.0_f64) {
            let text = written(|out| score(out, number));
            let read: f64 = serde_json::from_str(&text).expect("a number");
            prop_assert!((read - number).abs() <= 0.000_051, "{} {}", text, number);
        }
    }
}
