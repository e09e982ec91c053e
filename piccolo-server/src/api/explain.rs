//! GET explain: the reasons for the order of a key's holders.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use piccolo_api::{Group, Key};
use serde::{Deserialize, Serialize};
use topology::Explanation;

use crate::{
    api::{
        Api,
        lookup::{self, FindError},
        reply,
    },
    finder::{Asker, Explained},
};

/// Candidates and requester.
#[derive(Debug, Deserialize)]
pub(crate) struct ExplainQuery {
    /// The key that is looked for; not needed with `to`.
    key: Option<String>,
    /// The requester's group; not needed with `to`.
    group: Option<String>,
    /// Addresses, with commas between, that are ranked as if their hosts had the key.
    to: Option<String>,
    /// How many holders a find would answer; 100 where it is absent.
    count: Option<i64>,
    /// The requester's address; the caller's where it is absent.
    request_host: Option<IpAddr>,
    /// `text` for people, JSON otherwise.
    format: Option<String>,
}

/// The reply.
#[derive(Debug, Serialize)]
struct ExplainReply<'a> {
    requester: IpAddr,
    rack: &'a str,
    candidates: &'a [Explanation],
}

/// Addresses of one call.
const MAX_ADDRESSES: usize = 1000;

pub(crate) async fn handle(
    State(api): State<Arc<Api>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return FindError::Query(rejection.body_text()).reply(),
    };
    let asker = lookup::asker(&api, query.request_host, caller, query.count);
    match explain(&api, &query, asker).await {
        Ok(explained) => written(&query, asker, &explained),
        Err(error) => error.reply(),
    }
}

async fn explain(api: &Api, query: &ExplainQuery, asker: Asker) -> Result<Explained, FindError> {
    if let Some(to) = &query.to {
        let key = query.key.as_deref().unwrap_or_default();
        return Ok(api.finder.explain_addresses(key, asker, &addresses(to)?));
    }
    let needed = |name: &str, value: &Option<String>| {
        let missing = || FindError::Query(format!("{name} is missing; or give `to=IP,IP`"));
        value.clone().ok_or_else(missing)
    };
    let key: Key = needed("key", &query.key)?.parse()?;
    let group: Group = needed("group", &query.group)?.parse()?;
    let (database, spaces) = lookup::place(api, &group)?;
    let explained = api.finder.explain(database, spaces, key.as_str(), asker);
    Ok(explained.await?)
}

fn addresses(list: &str) -> Result<Vec<IpAddr>, FindError> {
    let addresses = list.split(',').map(|text| {
        let wrong = |_: std::net::AddrParseError| {
            let shown: String = text.chars().take(64).collect();
            FindError::Query(format!("to: {shown:?} is no IP address"))
        };
        text.trim().parse::<IpAddr>().map_err(wrong)
    });
    let addresses: Vec<_> = addresses
        .take(MAX_ADDRESSES + 1)
        .collect::<Result<_, _>>()?;
    if addresses.len() > MAX_ADDRESSES {
        return Err(FindError::Query(format!(
            "to: at most {MAX_ADDRESSES} addresses"
        )));
    }
    Ok(addresses)
}

fn written(query: &ExplainQuery, asker: Asker, explained: &Explained) -> Response {
    if query.format.as_deref() == Some("text") {
        let text: String = explained
            .candidates
            .iter()
            .map(ToString::to_string)
            .collect();
        return text.into_response();
    }
    let topology = &explained.topology;
    let body = ExplainReply {
        requester: asker.ip,
        rack: &topology.rack_name(topology.locate(asker.ip)),
        candidates: &explained.candidates,
    };
    reply::json(StatusCode::OK, &body)
}
