//! The announcer's calls: to which instance they go, and their outcomes.

use std::time::Duration;

use daemon::{client::Reply, spell::Spell};
use piccolo_api::{Ack, FindRequest, KEEPALIVE_INTERVAL, path};
use tracing::warn;

use super::{CALLS, DEADLINE};
use crate::discovery::{Discovery, flavour::Flavour, servers::Usable};

/// Shortest interval of keepalives that a server may ask for.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Calls of this node to the server's instances.
pub(super) struct Calls {
    discovery: Discovery,
    /// Rate-limits the log line about refused calls.
    refused: Spell,
    /// What the server last said of the time between two calls, if anything.
    interval: Option<Duration>,
}

/// The result of a call.
pub(super) enum Announced {
    Taken,
    Resync,
    Failed,
}

impl Calls {
    pub(super) fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            refused: Spell::new("the server takes calls again"),
            interval: None,
        }
    }

    /// Posts to the first instance that answers.
    pub(super) async fn post<B: serde::Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Option<Reply> {
        for server in self.discovery.0.servers.usable() {
            if let Some(reply) = server.post(path, body, deadline).await {
                // A Go server lacks some paths.
                if !Flavour::lacks_path(reply.status) {
                    self.discovery.0.standing.lock().refused = refusal(&reply);
                }
                return Some(reply);
            }
        }
        None
    }

    /// The kind of the server that is asked, found out by a call that a Go server does not know.
    pub(super) async fn flavour(&self) -> Flavour {
        let Some(server) = self.discovery.0.servers.usable().next() else {
            return Flavour::Unknown;
        };
        if server.flavour() == Flavour::Unknown {
            self.find_out(&server).await;
        }
        server.flavour()
    }

    async fn find_out(&self, server: &Usable<'_>) {
        let request = FindRequest {
            caller: None,
            keys: Vec::new(),
            group: self.discovery.0.group.clone(),
            count: None,
            request_host: Some(self.discovery.address()),
            ..FindRequest::default()
        };
        if let Some(reply) = server.post(path::FIND, &request, DEADLINE).await {
            let go = Flavour::lacks_path(reply.status);
            server.set_flavour(if go { Flavour::Go } else { Flavour::Ours });
        }
    }

    /// The longest time between two calls, as the server wants it, or as it is usual.
    pub(super) fn interval(&self) -> Duration {
        self.interval.map_or(KEEPALIVE_INTERVAL, |interval| {
            interval.clamp(LEAST_INTERVAL, KEEPALIVE_INTERVAL)
        })
    }

    /// The outcome of a call. Learns the nodes of the rack and the interval of keepalives from a reply that
    /// tells them.
    pub(super) fn judge(&mut self, kind: &'static str, reply: Option<&Reply>) -> Announced {
        let (outcome, label) = match reply {
            None => (Announced::Failed, "failed"),
            Some(reply) if !reply.status.is_success() => {
                let body = text(reply);
                self.refused.happened(|times| {
                    warn!(kind, status = %reply.status, body, times, "the server refuses");
                });
                (Announced::Failed, "failed")
            }
            Some(reply) => {
                self.refused.is_well();
                let ack: Option<Ack> = reply.json().ok();
                let resync = ack.as_ref().is_some_and(|ack| ack.resync);
                if let Some(ack) = &ack {
                    self.interval = ack.keepalive_ms.map(Duration::from_millis);
                }
                let mates = ack.and_then(|ack| ack.mates);
                if let (Some(known), Some(mates)) = (&self.discovery.0.mates, mates) {
                    known.learn(mates);
                }
                if resync {
                    (Announced::Resync, "resync")
                } else {
                    (Announced::Taken, "ok")
                }
            }
        };
        metrics::counter!(CALLS.name, "kind" => kind, "outcome" => label).increment(1);
        outcome
    }
}

/// The server's reason for refusing a call.
fn refusal(reply: &Reply) -> Option<String> {
    let refused = !reply.status.is_success();
    refused.then(|| format!("{}: {}", reply.status, text(reply)))
}

/// The beginning of a reply.
fn text(reply: &Reply) -> String {
    let body = String::from_utf8_lossy(&reply.body);
    body.chars().take(200).collect()
}
