//! Finds of a node that is about to fetch, and what it says of how far it is: one call at a time for
//! all of its blobs.

use std::time::Duration;

use daemon::scope::Scope;
use piccolo_api::{
    Fetch, FindReply, FindRequest, Intent, Key, Peer, Progress, ProgressReply, ProgressRequest,
    Standing, Turn, Verdict, path,
};
use tokio::time::Instant;

use super::{
    Discovery, FIND_SECONDS, Flavour,
    batch::{Batch, Waiting},
    count,
    servers::Heard,
};

/// How long the server may take to say what to do: all nodes may ask at the same moment.
const JOIN: Duration = Duration::from_secs(2);
/// How long a report of progress may take: the next one comes a second later.
const REPORT: Duration = Duration::from_millis(900);
/// When to come again to a server that has too much to do.
pub(super) const BUSY: Duration = Duration::from_millis(500);

/// What a node that is about to fetch is told.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// Peers that have all of it, best first.
    pub peers: Vec<Peer>,
    /// What to do; `None` where the peers are all that is known.
    pub turn: Option<Turn>,
    /// Whether what the node said of sources that it gave up was heard. If not, it says so again.
    pub is_heard: bool,
}

/// What waits to be asked and told.
#[derive(Debug, Default)]
pub(super) struct Joins {
    joins: Batch<(Key, Fetch), Joined>,
    reports: Batch<Progress, Option<Standing>>,
}

impl Discovery {
    /// Asks whom to take `key` from: peers that have it, and what to do where others may be fetching
    /// it too. Nobody and nothing where no server answers in time.
    pub(crate) async fn join(&self, key: &Key, fetch: Fetch) -> Joined {
        let asked = self.0.joins.joins.ask((key.clone(), fetch)).await;
        asked.unwrap_or_default()
    }

    /// Tells how far this node is with a key; `None` where nobody heard it.
    pub(crate) async fn progress(&self, progress: Progress) -> Option<Standing> {
        self.0.joins.reports.ask(progress).await.flatten()
    }

    /// Makes the calls, until the scope drains.
    pub(super) async fn joining(self, scope: Scope) {
        let Joins { joins, reports } = &self.0.joins;
        let joining = async {
            loop {
                self.join_all(joins.next().await).await;
            }
        };
        let reporting = async {
            loop {
                self.report_all(reports.next().await).await;
            }
        };
        tokio::select! {
            () = scope.draining() => {}
            () = joining => {}
            () = reporting => {}
        }
        joins.close();
        reports.close();
    }

    async fn join_all(&self, batch: Vec<Waiting<(Key, Fetch), Joined>>) {
        let (keys, fetches): (Vec<_>, Vec<_>) =
            batch.iter().map(|waiting| waiting.question.clone()).unzip();
        let mut answers = self.join_keys(&keys, fetches).await.into_iter();
        for waiting in batch {
            waiting.answer(answers.next().unwrap_or_default());
        }
    }

    /// One answer for each key, in their order; fewer where the server leaves some out.
    async fn join_keys(&self, keys: &[Key], fetches: Vec<Fetch>) -> Vec<Joined> {
        let Some(holder) = self.0.here.get() else {
            return self.found(keys).await;
        };
        let request = FindRequest {
            caller: None,
            intent: Some(Intent::Fetch),
            holder: Some(holder),
            fetches,
            ..self.request(keys)
        };
        let begin = Instant::now();
        for server in self.0.servers.reachable() {
            if server.flavour() == Flavour::Go {
                return self.found(keys).await;
            }
            let reply = match server.post_patiently(path::FIND, &request, JOIN).await {
                Heard::Reply(reply) => reply,
                Heard::Busy => return keys.iter().map(|_| self.wait()).collect(),
                Heard::Nothing => continue,
            };
            if reply.status.is_client_error() {
                // A Go server, which the plain find gets to know, or one that takes this node for no holder.
                return self.found(keys).await;
            }
            let Some(reply) = server.read::<FindReply>(&reply) else {
                continue;
            };
            metrics::histogram!(FIND_SECONDS.name).record(begin.elapsed().as_secs_f64());
            let results = reply.results.into_iter();
            return results.map(|found| self.joined(found)).collect();
        }
        count("no_server");
        let Some(mates) = &self.0.mates else {
            return Vec::new();
        };
        let turns = mates.join(&request, holder).await;
        let joined = |turn: Option<Turn>| Joined {
            peers: Vec::new(),
            is_heard: turn.is_some(),
            turn,
        };
        turns.into_iter().map(joined).collect()
    }

    fn joined(&self, found: piccolo_api::Found) -> Joined {
        let found = self.without_self(found);
        let is_told =
            matches!(&found.swarm, Some(turn) if matches!(turn.verdict, Verdict::Take { .. }));
        let is_nobody = found.peers.is_empty() && !is_told;
        count(if is_nobody { "nobody" } else { "found" });
        Joined {
            peers: found.peers,
            turn: found.swarm,
            is_heard: true,
        }
    }

    /// What to do while the server has too much to do: the registry is no way out of that.
    fn wait(&self) -> Joined {
        let wait = self.0.jitter.around(BUSY);
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let verdict = Verdict::Wait { wait_ms };
        let turn = Turn {
            rank: None,
            verdict,
        };
        Joined {
            peers: Vec::new(),
            turn: Some(turn),
            is_heard: false,
        }
    }

    /// Plain finds.
    async fn found(&self, keys: &[Key]) -> Vec<Joined> {
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            all.push(Joined {
                peers: self.find(key).await,
                ..Joined::default()
            });
        }
        all
    }

    async fn report_all(&self, batch: Vec<Waiting<Progress, Option<Standing>>>) {
        let fetches = batch
            .iter()
            .map(|waiting| waiting.question.clone())
            .collect();
        let mut heard = self.report(fetches).await.into_iter();
        for waiting in batch {
            waiting.answer(heard.next());
        }
    }

    async fn report(&self, fetches: Vec<Progress>) -> Vec<Standing> {
        let Some(holder) = self.0.here.get() else {
            return Vec::new();
        };
        let has_permit = fetches.iter().any(|fetch| fetch.permit);
        let request = ProgressRequest {
            caller: None,
            holder,
            group: self.0.group.clone(),
            fetches,
        };
        // A node that holds a permit is heard by a server that has just begun, or that gives another one.
        let reachable: Vec<_> = if has_permit {
            self.0.servers.in_order().collect()
        } else {
            self.0.servers.reachable().collect()
        };
        for server in reachable {
            if server.flavour() == Flavour::Go {
                return Vec::new();
            }
            match server
                .post_patiently(path::PROGRESS, &request, REPORT)
                .await
            {
                Heard::Reply(reply) if reply.status.is_success() => {
                    let reply: Option<ProgressReply> = server.read(&reply);
                    return reply.map_or_else(Vec::new, |reply| reply.results);
                }
                // The next report comes soon.
                Heard::Busy => return Vec::new(),
                Heard::Reply(_) | Heard::Nothing => {}
            }
        }
        let Some(mates) = &self.0.mates else {
            return Vec::new();
        };
        let stands = mates.progress(&request).await;
        let noted = |standing: Option<Standing>| standing.unwrap_or(Standing::Noted);
        stands.into_iter().map(noted).collect()
    }
}
