//! Finds of a node that is about to fetch, and what it says of how far it is.

use std::time::Duration;

use http::StatusCode;
use piccolo_api::{
    Fetch, FindReply, FindRequest, Intent, Key, Peer, Progress, ProgressReply, ProgressRequest,
    Standing, Turn, Verdict, path,
};
use tokio::time::Instant;

use super::{Discovery, FIND_DEADLINE, FIND_SECONDS, Flavour, count};

/// How long a report of progress may take: the next one comes a second later.
const REPORT: Duration = Duration::from_millis(900);

impl Discovery {
    /// Asks whom to take `key` from: peers that have it, and what to do where others may be fetching
    /// it too. Nobody and nothing where no server answers in time.
    pub(crate) async fn join(&self, key: &Key, fetch: Fetch) -> (Vec<Peer>, Option<Turn>) {
        let Some(holder) = self.0.holder else {
            return (self.find(key).await, None);
        };
        let request = FindRequest {
            intent: Some(Intent::Fetch),
            holder: Some(holder),
            fetches: vec![fetch],
            ..self.request(std::slice::from_ref(key))
        };
        let begin = Instant::now();
        for server in self.0.servers.usable() {
            if server.flavour() == Flavour::Go {
                return (self.find(key).await, None);
            }
            let left = FIND_DEADLINE.saturating_sub(begin.elapsed());
            let Some(reply) = server.post(path::FIND, &request, left).await else {
                continue;
            };
            if reply.status == StatusCode::NOT_FOUND {
                // A Go server, which the plain find gets to know.
                return (self.find(key).await, None);
            }
            let Some(reply) = server.read::<FindReply>(&reply) else {
                continue;
            };
            metrics::histogram!(FIND_SECONDS.name).record(begin.elapsed().as_secs_f64());
            let Some(found) = reply.results.into_iter().next() else {
                continue;
            };
            let found = self.without_self(found);
            let is_nobody = found.peers.is_empty()
                && !matches!(&found.swarm, Some(turn) if matches!(turn.verdict, Verdict::Take { .. }));
            count(if is_nobody { "nobody" } else { "found" });
            return (found.peers, found.swarm);
        }
        count("no_server");
        (Vec::new(), None)
    }

    /// Tells how far this node is with a key; `None` where nobody heard it.
    pub(crate) async fn progress(&self, progress: Progress) -> Option<Standing> {
        let request = ProgressRequest {
            holder: self.0.holder?,
            group: self.0.group.clone(),
            fetches: vec![progress],
        };
        for server in self.0.servers.usable() {
            if server.flavour() == Flavour::Go {
                return None;
            }
            if let Some(reply) = server.post(path::PROGRESS, &request, REPORT).await
                && reply.status.is_success()
            {
                let reply: ProgressReply = server.read(&reply)?;
                return reply.results.into_iter().next();
            }
        }
        None
    }
}
