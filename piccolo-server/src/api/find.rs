//! POST find: the holders of several keys in one round trip.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use piccolo_api::{FindRequest, Group, Key};

use crate::api::{
    Api,
    body::{self, BodyError},
    lookup::{self, FindError},
    peers, reply,
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
    let mut out = Vec::with_capacity(128 + call.keys.len() * 256);
    out.extend_from_slice(b"{\"Group\":");
    peers::text(&mut out, &call.group);
    out.extend_from_slice(b",\"results\":[");
    let keys = call.keys.iter().map(|key| key.parse());
    let keys: Vec<Key> = keys.collect::<Result<_, _>>().map_err(FindError::Name)?;
    let mut finds = Vec::with_capacity(keys.len());
    for key in &keys {
        finds.push(api.finder.find(database, spaces, key.as_str(), asker));
    }
    let mut finds = stream::iter(finds).buffered(AT_ONCE);
    for (n, key) in keys.iter().enumerate() {
        let Some(found) = finds.next().await else {
            break;
        };
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        peers::text(&mut out, key.as_str());
        out.extend_from_slice(b",\"peers\":");
        peers::described(&mut out, &found.map_err(FindError::Store)?);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Holders that each of so many keys may have.
fn share(keys: usize) -> u32 {
    u32::try_from(HOLDERS / keys.max(1)).unwrap_or(u32::MAX)
}
