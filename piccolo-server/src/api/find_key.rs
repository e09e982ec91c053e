//! GET findkey: the holders of one key.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Query, Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use piccolo_api::{FindKeyQuery, Group, Key, MessageReply};

use crate::{
    api::{
        Api,
        lookup::{self, FindError},
        peers, reply,
        speaker::Speaker,
    },
    finder::Found,
};

pub(crate) async fn handle(
    State(api): State<Arc<Api>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let query = match read(request.uri()) {
        Ok(query) => query,
        Err(error) => return error.reply(),
    };
    if let Some(speaker) = Speaker::of(&request)
        && let Err(error) = speaker.may_speak(&api, &query.group, query.request_host)
    {
        return reply::failed(error.status(), error.to_string());
    }
    match find(&api, caller, &query).await.map(|found| (query, found)) {
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
    let (database, spaces) = lookup::place(api, &group)?;
    let asker = lookup::asker(api, query.request_host, caller, query.count);
    let found = api
        .finder
        .find(database, spaces, key.as_str(), asker)
        .await?;
    let holders = found.candidates.iter().map(|candidate| candidate.holder);
    database.handed(spaces, asker.ip, holders);
    Ok(found)
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
