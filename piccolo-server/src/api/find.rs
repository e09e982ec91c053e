//! POST find: the holders of several keys in one round trip.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use piccolo_api::{Fetch, FindRequest, Group, Intent, Key, Turn, Verdict};
use topology::Topology;

use crate::{
    api::{
        Api,
        body::{self, BodyError},
        lookup::{self, FindError},
        passing::{self, Caller, Told},
        peers, reply,
        subject::{Subject, SubjectError},
    },
    crowd::{Crowd, Fetcher},
    finder::Found,
    instances::Tenure,
    key_hash::KeyHash,
};

/// Most keys of one call that are looked up in the database at the same time.
const AT_ONCE: usize = 8;

/// Holders of one reply, some two megabytes. Of many keys each has fewer.
const HOLDERS: usize = 20_000;

#[derive(Debug, thiserror::Error)]
enum FindManyError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

pub(crate) async fn handle(
    State(api): State<Arc<Api>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    match find(&api, address, request).await {
        Ok(body) => reply::written(StatusCode::OK, body),
        Err(FindManyError::Body(error)) => reply::failed(error.status(), error.to_string()),
        Err(FindManyError::Find(error)) => error.reply(),
        Err(FindManyError::Subject(error)) => error.reply(),
    }
}

async fn find(api: &Api, address: SocketAddr, request: Request) -> Result<Vec<u8>, FindManyError> {
    let caller = Caller::of(api, &request)?;
    let mut call: FindRequest = body::read(api, request).await?;
    let most = api.limits.find_keys;
    if call.keys.len() > most {
        return Err(FindError::TooManyKeys {
            got: call.keys.len(),
            most,
        }
        .into());
    }
    let group: Group = call.group.parse().map_err(FindError::Name)?;
    caller.may_ask(api, &group, call.request_host)?;
    let (database, spaces) = lookup::place(api, &group)?;
    let mut asker = lookup::asker(api, call.request_host, address, call.count);
    asker.count = asker.count.min(share(call.keys.len()));
    // Forwarded calls name the original node.
    (call.request_host, call.count) = (Some(asker.ip), Some(asker.count.into()));
    let keys = call.keys.iter().map(|key| key.parse());
    let keys: Vec<Key> = keys.collect::<Result<_, _>>().map_err(FindError::Name)?;
    let topology = api.current.get();
    let mut fetching = Fetching::of(api, &caller, &call, (&group, &topology))?;
    if let Some(fetching) = fetching.as_mut().filter(|fetching| !fetching.is_stranger) {
        fetching.told = passing::joins(api, &caller, fetching.who, (&call, &keys)).await;
    }
    let part = |(n, key)| Part::of(fetching.as_ref(), n, key);
    let parts: Vec<_> = keys.iter().enumerate().map(part).collect();
    let sought = keys
        .iter()
        .zip(&parts)
        .filter(|(_, part)| matches!(part, Part::Sought));
    let finds = sought.map(|(key, _)| api.finder.find(database, spaces, key.as_str(), asker));
    let finds: Vec<_> = finds.collect();
    let mut finds = stream::iter(finds).buffered(AT_ONCE);
    let mut out = Vec::with_capacity(128 + call.keys.len() * 256);
    out.extend_from_slice(b"{\"Group\":");
    peers::text(&mut out, &call.group);
    out.extend_from_slice(b",\"results\":[");
    let told = |holders: Vec<SocketAddr>| database.handed(spaces, asker.ip, holders.into_iter());
    for (n, (key, part)) in keys.iter().zip(parts).enumerate() {
        begin(&mut out, n, key);
        let turn = match part {
            Part::There(found) => {
                told(found.peers.iter().map(|peer| peer.addr.addr()).collect());
                peers::json(&mut out, &found.peers);
                found.swarm
            }
            Part::Waits(turn) => {
                out.extend_from_slice(b"[]");
                Some(turn)
            }
            Part::Sought => {
                let found = match finds.next().await {
                    Some(Ok(found)) => found,
                    Some(Err(error)) if fetching.is_none() => {
                        return Err(FindError::Store(error).into());
                    }
                    // The rules know their complete holders without a database.
                    _ => Found {
                        candidates: Vec::new(),
                        topology: Arc::clone(&topology),
                    },
                };
                let holders = found.candidates.iter();
                told(holders.map(|candidate| candidate.holder).collect());
                peers::described(&mut out, &found);
                let fetching = fetching.as_ref();
                fetching.and_then(|fetching| fetching.join(n, key, &found))
            }
        };
        if let Some(Turn {
            verdict: Verdict::Take { sources, .. },
            ..
        }) = &turn
        {
            told(sources.iter().map(|source| source.addr.addr()).collect());
        }
        end(&mut out, turn.as_ref());
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// The n-th result up to its holders.
fn begin(out: &mut Vec<u8>, n: usize, key: &Key) {
    if n > 0 {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"key\":");
    peers::text(out, key.as_str());
    out.extend_from_slice(b",\"peers\":");
}

/// The rest of a result, behind its holders.
fn end(out: &mut Vec<u8>, turn: Option<&Turn>) {
    if let Some(turn) = turn {
        out.extend_from_slice(b",\"swarm\":");
        peers::json(out, turn);
    }
    out.push(b'}');
}

/// State of one key before its holders are looked up.
enum Part {
    /// The answer of another instance.
    There(piccolo_api::Found),
    /// The node waits, and its holders need not be looked up again.
    Waits(Turn),
    /// Nothing.
    Sought,
}

impl Part {
    fn of(fetching: Option<&Fetching<'_>>, n: usize, key: &Key) -> Self {
        let Some(fetching) = fetching else {
            return Self::Sought;
        };
        if let Some(Told::There(found)) = fetching.told.get(n) {
            return Self::There(found.clone());
        }
        let again = fetching.join_again(n, key);
        again.map_or(Self::Sought, Self::Waits)
    }
}

/// A find of a node that is about to fetch.
struct Fetching<'a> {
    crowd: &'a Crowd,
    who: Fetcher<'a>,
    fetches: &'a [Fetch],
    /// Whether the node has not announced itself.
    is_stranger: bool,
    /// The work left for each key; none of a stranger's.
    told: Vec<Told<piccolo_api::Found>>,
}

impl<'a> Fetching<'a> {
    /// Reads it out of a call; `None` where nothing is to be fetched, or crowds are off.
    fn of(
        api: &'a Api,
        caller: &Caller,
        call: &'a FindRequest,
        (group, topology): (&Group, &'a Topology),
    ) -> Result<Option<Self>, FindManyError> {
        let (Some(crowd), Some(Intent::Fetch), Some(holder)) =
            (&api.crowd, call.intent, call.holder)
        else {
            return Ok(None);
        };
        let node = match Subject::named(api, caller.agent(), group.clone(), holder) {
            Ok(node) => node,
            // Nobody is sent to it, so it has no place in a crowd; others are named to it all the same.
            Err(SubjectError::Bound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let source = caller.source(&node, call.caller);
        // If an unreadable entry was left out, the entries no longer match their keys.
        let fetches = if call.fetches.len() == call.keys.len() {
            &*call.fetches
        } else {
            &[]
        };
        Ok(Some(Self {
            crowd,
            who: Fetcher::new(group, holder, source, topology),
            fetches,
            is_stranger: caller.is_stranger(&node, crowd),
            told: Vec::new(),
        }))
    }

    fn tenure(&self, n: usize) -> Option<Tenure> {
        match self.told.get(n) {
            Some(Told::Here(tenure)) => Some(*tenure),
            _ => None,
        }
    }

    /// What the node is to do about the n-th key, of which these are the holders.
    fn join(&self, n: usize, key: &Key, found: &Found) -> Option<Turn> {
        let new = Fetch::default();
        let fetch = self.fetches.get(n).unwrap_or(&new);
        if self.is_stranger {
            return Crowd::stranger(fetch, found);
        }
        let tenure = self.tenure(n)?;
        let key = KeyHash::of(key.as_str());
        Some(self.crowd.join(self.who, &key, fetch, found, tenure))
    }

    /// The same, where the node waits and its holders need not be looked up again.
    fn join_again(&self, n: usize, key: &Key) -> Option<Turn> {
        let tenure = self.tenure(n)?;
        let fetch = self.fetches.get(n).filter(|fetch| fetch.waiting)?;
        let key = KeyHash::of(key.as_str());
        self.crowd.join_again(self.who, &key, fetch, tenure)
    }
}

/// The most holders per key, for a find of `keys` keys.
fn share(keys: usize) -> u32 {
    u32::try_from(HOLDERS / keys.max(1)).unwrap_or(u32::MAX)
}
