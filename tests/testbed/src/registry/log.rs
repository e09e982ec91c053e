//! Reads what the registry has answered from its log.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// One answered request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessEntry {
    /// Address of the client.
    pub client: IpAddr,
    /// `GET`, `HEAD`.
    pub method: String,
    /// The path with its query.
    pub uri: String,
    /// The status code.
    pub status: u16,
    /// The bytes of the body that were sent, also of one that was cut short.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "http.request.remoteaddr")]
    client: Client,
    #[serde(rename = "http.request.method")]
    method: String,
    #[serde(rename = "http.request.uri")]
    uri: String,
    #[serde(rename = "http.response.status")]
    status: u16,
    #[serde(rename = "http.response.written", default)]
    written: u64,
}

/// A client as the registry names it: without a port where it came through a gate.
#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    Socket(SocketAddr),
    Address(IpAddr),
}

impl Client {
    fn address(&self) -> IpAddr {
        match self {
            Self::Socket(socket) => socket.ip(),
            Self::Address(address) => *address,
        }
    }
}

/// Lines that do not tell of an answer are not for us.
pub(super) fn parse(log: &str) -> Vec<AccessEntry> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .map(AccessEntry::from)
        .collect()
}

impl From<Line> for AccessEntry {
    fn from(line: Line) -> Self {
        Self {
            client: line.client.address(),
            method: line.method,
            uri: line.uri,
            status: line.status,
            bytes: line.written,
        }
    }
}
