//! POST find: the holders of several keys in one round trip.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use piccolo_api::{Fetch, FindRequest, Group, Intent, Key, Turn};
use topology::Topology;

use crate::{
    api::{
        Api,
        body::{self, BodyError},
        lookup::{self, FindError},
        peers, reply,
        subject::{self, SubjectError},
    },
    crowd::{Crowd, Fetcher},
    finder::Found,
    key_hash::KeyHash,
};

/// Keys of one call that the database is asked for at the same time.
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
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    match find(&api, caller, request).await {
        Ok(body) => reply::written(StatusCode::OK, body),
        Err(FindManyError::Body(error)) => reply::failed(error.status(), error.to_string()),
        Err(FindManyError::Find(error)) => error.reply(),
        Err(FindManyError::Subject(error)) => error.reply(),
    }
}

async fn find(api: &Api, caller: SocketAddr, request: Request) -> Result<Vec<u8>, FindManyError> {
    let call: FindRequest = body::read(api, request).await?;
    let most = api.limits.find_keys;
    if call.keys.len() > most {
        return Err(FindError::TooManyKeys {
            got: call.keys.len(),
            most,
        }
        .into());
    }
    let group: Group = call.group.parse().map_err(FindError::Name)?;
    let (database, spaces) = lookup::place(api, &group)?;
    let mut asker = lookup::asker(api, call.request_host, caller, call.count);
    asker.count = asker.count.min(share(call.keys.len()));
    let topology = api.current.get();
    let fetching = Fetching::of(api, caller, &call, (&group, &topology))?;
    let mut out = Vec::with_capacity(128 + call.keys.len() * 256);
    out.extend_from_slice(b"{\"Group\":");
    peers::text(&mut out, &call.group);
    out.extend_from_slice(b",\"results\":[");
    let keys = call.keys.iter().map(|key| key.parse());
    let keys: Vec<Key> = keys.collect::<Result<_, _>>().map_err(FindError::Name)?;
    let mut finds = Vec::with_capacity(keys.len());
    let mut turns = Vec::with_capacity(keys.len());
    for (n, key) in keys.iter().enumerate() {
        let turn = fetching
            .as_ref()
            .and_then(|fetching| fetching.join_again(n, key));
        if turn.is_none() {
            finds.push(api.finder.find(database, spaces, key.as_str(), asker));
        }
        turns.push(turn);
    }
    let mut finds = stream::iter(finds).buffered(AT_ONCE);
    for (n, (key, mut turn)) in keys.iter().zip(turns).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        peers::text(&mut out, key.as_str());
        out.extend_from_slice(b",\"peers\":");
        if turn.is_some() {
            out.extend_from_slice(b"[]");
        } else if let Some(found) = finds.next().await {
            let found = match found {
                // Whom the rules know to have it, they know without a database.
                Err(_) if fetching.is_some() => Found {
                    candidates: Vec::new(),
                    topology: Arc::clone(&topology),
                },
                found => found.map_err(FindError::Store)?,
            };
            peers::described(&mut out, &found);
            turn = fetching
                .as_ref()
                .map(|fetching| fetching.join(n, key, &found));
        }
        if let Some(turn) = turn {
            out.extend_from_slice(b",\"swarm\":");
            peers::json(&mut out, &turn);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// A find of a node that is about to fetch.
struct Fetching<'a> {
    crowd: &'a Crowd,
    who: Fetcher<'a>,
    fetches: &'a [Fetch],
}

impl<'a> Fetching<'a> {
    /// Reads it out of a call; `None` where nothing is to be fetched, or crowds are off.
    fn of(
        api: &'a Api,
        caller: SocketAddr,
        call: &'a FindRequest,
        (group, topology): (&Group, &'a Topology),
    ) -> Result<Option<Self>, FindManyError> {
        let (Some(crowd), Some(Intent::Fetch), Some(holder)) =
            (&api.crowd, call.intent, call.holder)
        else {
            return Ok(None);
        };
        subject::check(api, Some(caller), holder)?;
        // If an unreadable entry was left out, the entries no longer match their keys.
        let fetches = if call.fetches.len() == call.keys.len() {
            &*call.fetches
        } else {
            &[]
        };
        Ok(Some(Self {
            crowd,
            who: Fetcher::new(group, holder, topology),
            fetches,
        }))
    }

    /// What the node is to do about the n-th key, of which these are the holders.
    fn join(&self, n: usize, key: &Key, found: &Found) -> Turn {
        let new = Fetch::default();
        let fetch = self.fetches.get(n).unwrap_or(&new);
        let key = KeyHash::of(key.as_str());
        self.crowd.join(self.who, &key, fetch, found)
    }

    /// The same, where the node waits and its holders need not be looked up again.
    fn join_again(&self, n: usize, key: &Key) -> Option<Turn> {
        let fetch = self.fetches.get(n).filter(|fetch| fetch.waiting)?;
        let key = KeyHash::of(key.as_str());
        self.crowd.join_again(self.who, &key, fetch)
    }
}

/// The most holders per key, for a find of `keys` keys.
fn share(keys: usize) -> u32 {
    u32::try_from(HOLDERS / keys.max(1)).unwrap_or(u32::MAX)
}
