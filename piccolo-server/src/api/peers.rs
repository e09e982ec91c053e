//! Holders written as JSON, without a value for each on the way.

use std::{borrow::Cow, io::Write as _, net::SocketAddr};

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
    let mut rack: Option<(RackId, Cow<'_, str>)> = None;
    list(out, &found.candidates, |out, candidate| {
        out.extend_from_slice(b"{\"addr\":");
        address(out, candidate.holder);
        out.extend_from_slice(b",\"rack\":");
        let id = candidate.rack();
        let name = match &rack {
            Some((known, name)) if *known == id => name,
            _ => &rack.insert((id, found.topology.rack_name(id))).1,
        };
        text(out, name);
        out.extend_from_slice(match candidate.state {
            State::Complete => b",\"state\":\"complete\",\"score\":".as_slice(),
            State::Fetching => b",\"state\":\"fetching\",\"score\":",
        });
        value(out, &((candidate.score() * 1e4).round() / 1e4));
        out.push(b'}');
    });
}

/// A quoted and escaped string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    value(out, text);
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
    // Writing to a vector cannot fail.
    let _ = write!(out, "\"{address}\"");
}

fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Neither can writing text and numbers as JSON.
    let _ = serde_json::to_writer(out, value);
}
