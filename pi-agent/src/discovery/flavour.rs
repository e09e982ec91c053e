//! What kind of server answers: ours, or the Go Piccolo that is deployed today.

use std::{fmt::Write as _, net::IpAddr};

use http::StatusCode;
use piccolo_api::{FindKeyReply, Key, Peer, PeerState, path};
use serde::{Deserialize, Serialize};

/// Which calls a server serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// Not known yet.
    #[default]
    Unknown,
    /// All of them; deltas are numbered.
    Ours,
    /// The five old ones; keys can only be added or replaced as a whole.
    Go,
}

impl Flavour {
    /// Whether the status of a reply means that the server does not know the path.
    pub(crate) fn lacks_path(status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        )
    }
}

/// Path and query of a find of one key.
pub(crate) fn find_key_path(key: &Key, group: &str, address: IpAddr, count: i64) -> String {
    format!(
        "{}?key={}&group={}&count={count}&request_host={}",
        path::FIND_KEY,
        escaped(key.as_str()),
        escaped(group),
        escaped(&address.to_string()),
    )
}

/// The holders of a reply as peers; those that are no addresses are left out.
pub(crate) fn peers(reply: FindKeyReply) -> Vec<Peer> {
    if !reply.peers.is_empty() {
        return reply.peers;
    }
    let holders = reply.holders.iter().filter_map(|text| text.parse().ok());
    let peers = holders.map(|addr| Peer {
        addr,
        rack: String::new(),
        state: PeerState::Complete,
        score: 0.0,
    });
    peers.collect()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
