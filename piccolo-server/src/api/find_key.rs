//! GET findkey: the holders of one key.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Query, State},
    response::Response,
};
use http::{StatusCode, Uri};
use piccolo_api::{FindKeyQuery, Group, Key, MessageReply, NameError};

use crate::{
    api::{Api, peers, reply},
    finder::{Asker, Found},
    store::StoreError,
};

/// Why a find failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("Wrong request format: {0}")]
    Query(String),
    #[error("Wrong request format: {0}")]
    Name(#[from] NameError),
    #[error("{got} keys in one find, at most {most} are taken")]
    TooManyKeys { got: usize, most: usize },
    #[error("group {0} is not served here")]
    UnknownGroup(Group),
    #[error("{0}")]
    Store(#[from] StoreError),
}

pub(crate) async fn handle(
    State(api): State<Arc<Api>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Response {
    let found = match read(&uri) {
        Ok(query) => find(&api, caller, &query).await.map(|found| (query, found)),
        Err(error) => Err(error),
    };
    match found {
        Ok((query, found)) if found.candidates.is_empty() => {
            let message = format!("nobody has {}", query.key);
            reply::json(StatusCode::NOT_FOUND, &MessageReply { message })
        }
        Ok((query, found)) => reply::written(StatusCode::OK, written(&query, &found)),
        Err(error) => error.reply(),
    }
}

/// The query; of a name that is there several times the first one counts, as in the Go server.
fn read(uri: &Uri) -> Result<FindKeyQuery, FindError> {
    let Query(query) = Query::try_from_uri(uri)
        .or_else(|rejection| {
            let once = firsts(uri).parse().map_err(|_bad| rejection)?;
            Query::try_from_uri(&once)
        })
        .map_err(|rejection| FindError::Query(rejection.body_text()))?;
    Ok(query)
}

/// The URI with each name of its query once.
fn firsts(uri: &Uri) -> String {
    let mut names = HashSet::new();
    let parts = uri.query().unwrap_or_default().split('&');
    let is_first = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        names.insert(name.to_owned())
    };
    let parts: Vec<&str> = parts.filter(is_first).collect();
    format!("{}?{}", uri.path(), parts.join("&"))
}

async fn find(api: &Api, caller: SocketAddr, query: &FindKeyQuery) -> Result<Found, FindError> {
    let key: Key = query.key.parse()?;
    let group: Group = query.group.parse()?;
    let realm = api.databases.realm(&group);
    let realm = realm.ok_or_else(|| FindError::UnknownGroup(group.clone()))?;
    let asker = Asker {
        ip: query.request_host.unwrap_or(caller.ip()).to_canonical(),
        count: count(api, query.count),
    };
    let spaces = realm.spaces.get(&group);
    Ok(api.finder.find(realm, spaces, key.as_str(), asker).await?)
}

/// How many holders to answer: what was asked for, within the limit; 100 where nothing was.
pub(crate) fn count(api: &Api, asked: Option<i64>) -> u32 {
    match asked {
        Some(count) if count > 0 => u32::try_from(count)
            .unwrap_or(u32::MAX)
            .min(api.limits.count),
        _ => 100.min(api.limits.count),
    }
}

fn written(query: &FindKeyQuery, found: &Found) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + found.candidates.len() * 120);
    out.extend_from_slice(b"{\"key\":");
    peers::text(&mut out, &query.key);
    out.extend_from_slice(b",\"Group\":");
    peers::text(&mut out, &query.group);
    out.extend_from_slice(b",\"holders\":");
    // The Go server never counts; its agents never look.
    peers::twice(&mut out, b",\"total\":0,\"peers\":", found);
    out.push(b'}');
    out
}

impl FindError {
    pub(crate) fn reply(&self) -> Response {
        let status = match self {
            Self::Query(_) | Self::Name(_) | Self::UnknownGroup(_) => StatusCode::BAD_REQUEST,
            Self::TooManyKeys { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Store(error) => reply::store_status(error),
        };
        reply::failed(status, self.to_string())
    }
}
