//! Joins and reports within the rack, while no server answers: rendezvous hashing picks the node of the
//! rack that decides for a key, and every node of the rack picks the same.

use std::{collections::BTreeMap, time::Duration};

use daemon::{
    client::{JsonClient, Reply},
    metric::Metric,
    retry::Backoff,
};
use futures_util::future::join_all;
use http::StatusCode;
use parking_lot::Mutex;
use piccolo_api::{
    FindReply, FindRequest, Holder, Mates, ProgressReply, ProgressRequest, Standing, Turn,
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    http::{RACK_FIND, RACK_PROGRESS, encode_query},
    reach::Reach,
    tracker::{Tracker, key_of},
};

pub(super) const DECIDED: Metric = Metric::counter(
    "piccolo_agent_swarm_rack_decisions_total",
    &[(
        "by",
        "`self`, `mate` (a node of the rack answered), `nobody` (none did, so the registry is asked)",
    )],
    "Blobs that a node of the rack decided about, while no server answered.",
);

/// How often it is asked at least who is in the rack: at first, as the others of the rack may begin at
/// the same time, and later.
const EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// How long a node of the rack may take to answer.
const DEADLINE: Duration = Duration::from_millis(500);
/// A call that failed after so long is made once more. Where many pull at once, packets are lost, and the first
/// of a connection is repeated after a second only. Two nodes that decide cost a copy more from the registry.
const LOST: Duration = Duration::from_millis(100);
/// How long one that did not is left out.
const AWAY: Duration = Duration::from_secs(10);
/// How long one is left out that knows no such call.
const UNABLE: Duration = Duration::from_mins(10);
/// How many nodes are tried for a key.
const TRIES: usize = 3;
/// Keys of one call, which has to fit into the head of a request.
const KEYS: usize = 16;

/// The nodes of this node's rack.
#[derive(Debug)]
pub(super) struct RackMates {
    client: JsonClient,
    tracker: Tracker,
    reach: Reach,
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    version: u64,
    /// When it is to be asked for again.
    due: Option<Instant>,
    pauses: Backoff,
    mates: Vec<Mate>,
}

#[derive(Debug)]
struct Mate {
    holder: Holder,
    number: u64,
    /// Until when it is left out.
    away: Option<Instant>,
}

impl RackMates {
    pub(super) fn new(client: JsonClient, tracker: Tracker, reach: Reach) -> Self {
        Self {
            client,
            tracker,
            reach,
            list: Mutex::new(List {
                version: 0,
                due: None,
                pauses: Backoff::new(EVERY.0, EVERY.1),
                mates: Vec::new(),
            }),
        }
    }

    /// How long until it is to be asked who is in the rack, at least the shortest pause.
    pub(super) fn due_in(&self) -> Duration {
        let due = self.list.lock().due;
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        left.unwrap_or_default().max(EVERY.0)
    }

    /// The version of the list, 0 for none, with which a newer one is asked for.
    pub(super) fn seen(&self) -> u64 {
        let mut list = self.list.lock();
        // The caller has jitter of its own.
        let pause = list.pauses.delay(1.0);
        list.due = Some(Instant::now() + pause);
        list.version
    }

    /// How many nodes the rack has, this one among them, as far as is known.
    pub(super) fn count(&self) -> usize {
        self.list.lock().mates.len()
    }

    /// The server says who is in the rack.
    pub(super) fn learn(&self, mates: Mates) {
        let mate = |holder: Holder| Mate {
            holder,
            number: number(holder),
            away: None,
        };
        let mut holders = mates.holders;
        holders.retain(|holder| self.reach.allows(*holder));
        let mut list = self.list.lock();
        list.version = mates.version;
        list.mates = holders.into_iter().map(mate).collect();
    }

    /// What to do about each of the keys; `None` where no node of the rack says it.
    pub(super) async fn join(&self, request: &FindRequest, own: Holder) -> Vec<Option<Turn>> {
        let turns = self.decided(request, own).await;
        for _ in turns.iter().filter(|turn| turn.is_none()) {
            count("nobody");
        }
        turns
    }

    /// Tells how far this node is; gives how it stands with each, where a node of the rack says it.
    pub(super) async fn progress(&self, request: &ProgressRequest) -> Vec<Option<Standing>> {
        self.decided(request, request.holder).await
    }

    /// Has each key decided by its owner, or by the next one where that does not answer.
    async fn decided<R: Request>(&self, request: &R, own: Holder) -> Vec<Option<R::Answer>> {
        let keys = request.keys();
        let mut decided: Vec<Option<R::Answer>> = keys.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..keys.len()).collect();
        for _ in 0..TRIES {
            let there = self.there(own);
            let mut by_owner: BTreeMap<Holder, Vec<usize>> = BTreeMap::new();
            for n in std::mem::take(&mut left) {
                if let Some(owner) = keys.get(n).and_then(|key| owner(key, &there)) {
                    by_owner.entry(owner).or_default().push(n);
                }
            }
            let mut calls = Vec::new();
            for (owner, all) in &by_owner {
                for part in all.chunks(KEYS) {
                    calls.push(self.ask(*owner, own, request, part));
                }
            }
            let parts = by_owner.values().flat_map(|all| all.chunks(KEYS));
            for (part, answer) in parts.zip(join_all(calls).await) {
                let Some(answer) = answer else {
                    left.extend_from_slice(part);
                    continue;
                };
                for (n, one) in part.iter().zip(answer) {
                    if let Some(place) = decided.get_mut(*n) {
                        *place = one;
                    }
                }
            }
            if left.is_empty() {
                break;
            }
        }
        decided
    }

    /// The owner's answers; `None` where it does not answer.
    async fn ask<R: Request>(
        &self,
        owner: Holder,
        own: Holder,
        request: &R,
        part: &[usize],
    ) -> Option<Vec<Option<R::Answer>>> {
        let request = request.part(part);
        if owner == own {
            return Some(request.decide(&self.tracker));
        }
        let text = serde_json::to_string(&request).ok()?;
        let url = format!("http://{owner}{}?call={}", R::PATH, encode_query(&text));
        let begin = Instant::now();
        let mut reply = self.client.get(&url, DEADLINE).await;
        if reply.is_err() && begin.elapsed() >= LOST {
            reply = self.client.get(&url, DEADLINE).await;
        }
        let (answers, pause) = match reply {
            Ok(reply) if reply.status.is_success() => (R::read(&reply), AWAY),
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => (None, UNABLE),
            Ok(_) | Err(_) => (None, AWAY),
        };
        if answers.is_none() {
            let mut list = self.list.lock();
            let mut mates = list.mates.iter_mut();
            if let Some(mate) = mates.find(|mate| mate.holder == owner) {
                mate.away = Some(Instant::now() + pause);
            }
        }
        answers
    }

    /// Those who may decide, and their numbers; nobody where this node has no mates.
    fn there(&self, own: Holder) -> Vec<(Holder, u64)> {
        let now = Instant::now();
        let list = self.list.lock();
        if list.mates.iter().all(|mate| mate.holder == own) {
            return Vec::new();
        }
        let is_there =
            |mate: &&Mate| mate.holder == own || mate.away.is_none_or(|until| until <= now);
        let there = list.mates.iter().filter(is_there);
        there.map(|mate| (mate.holder, mate.number)).collect()
    }
}

/// Who decides for a key.
fn owner(key: &str, there: &[(Holder, u64)]) -> Option<Holder> {
    let owner = swarm::owner(key_of(key), there.iter().map(|(_, number)| *number))?;
    there.get(owner).map(|(holder, _)| *holder)
}

/// What is asked of the node that decides, or told it.
trait Request: Serialize + Sync + Sized {
    /// About one key.
    type Answer: Send;
    /// Where it is asked.
    const PATH: &str;

    fn keys(&self) -> Vec<String>;
    /// The same about some of the keys only.
    fn part(&self, part: &[usize]) -> Self;
    /// What this node says to it.
    fn decide(&self, tracker: &Tracker) -> Vec<Option<Self::Answer>>;
    /// What another node said.
    fn read(reply: &Reply) -> Option<Vec<Option<Self::Answer>>>;
}

impl Request for FindRequest {
    type Answer = Turn;
    const PATH: &str = RACK_FIND;

    fn keys(&self) -> Vec<String> {
        self.keys.clone()
    }

    fn part(&self, part: &[usize]) -> Self {
        Self {
            keys: pick(&self.keys, part),
            fetches: pick(&self.fetches, part),
            ..self.clone()
        }
    }

    fn decide(&self, tracker: &Tracker) -> Vec<Option<Turn>> {
        tracker
            .find(self)
            .into_iter()
            .inspect(|_| count("self"))
            .collect()
    }

    fn read(reply: &Reply) -> Option<Vec<Option<Turn>>> {
        let reply: FindReply = reply.json().ok()?;
        let turns = reply.results.into_iter().map(|found| found.swarm);
        Some(turns.inspect(|_| count("mate")).collect())
    }
}

impl Request for ProgressRequest {
    type Answer = Standing;
    const PATH: &str = RACK_PROGRESS;

    fn keys(&self) -> Vec<String> {
        self.fetches.iter().map(|fetch| fetch.key.clone()).collect()
    }

    fn part(&self, part: &[usize]) -> Self {
        Self {
            fetches: pick(&self.fetches, part),
            ..self.clone()
        }
    }

    fn decide(&self, tracker: &Tracker) -> Vec<Option<Standing>> {
        tracker.progress(self).into_iter().map(Some).collect()
    }

    fn read(reply: &Reply) -> Option<Vec<Option<Standing>>> {
        let reply: ProgressReply = reply.json().ok()?;
        Some(reply.results.into_iter().map(Some).collect())
    }
}

fn pick<T: Clone>(all: &[T], part: &[usize]) -> Vec<T> {
    part.iter().filter_map(|n| all.get(*n).cloned()).collect()
}

/// A node as a candidate, the same number on every node.
fn number(holder: Holder) -> u64 {
    let hash = blake3::hash(holder.to_string().as_bytes());
    let first = hash.as_bytes().first_chunk();
    u64::from_be_bytes(first.copied().unwrap_or_default())
}

fn count(by: &'static str) {
    metrics::counter!(DECIDED.name, "by" => by).increment(1);
}
