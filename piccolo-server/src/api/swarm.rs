//! GET swarm: the nodes that fetch a key, each with its source.

use std::sync::Arc;

use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use daemon::client::Reply;
use http::{HeaderValue, StatusCode, header};
use piccolo_api::{Group, Holder, Key, MessageReply};
use serde::Deserialize;

use crate::{
    api::{
        Api,
        lookup::{self, FindError},
        passing::{self, Caller},
        reply,
    },
    crowd::{View, key_in},
    key_hash::KeyHash,
};

/// The key, and the node to explain.
#[derive(Debug, Deserialize)]
pub(crate) struct SwarmQuery {
    key: String,
    group: String,
    /// A node, by the address at which it serves peers: its path to the root is shown.
    node: Option<Holder>,
    /// `text` for people, JSON otherwise.
    format: Option<String>,
}

pub(crate) async fn handle(
    State(api): State<Arc<Api>>,
    query: Result<Query<SwarmQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return FindError::Query(rejection.body_text()).reply(),
    };
    if api.crowd.is_none() {
        return nothing("crowds are switched off here (--swarm off)".to_owned());
    }
    let caller = match Caller::of(&api, &request) {
        Ok(caller) => caller,
        Err(error) => return error.reply(),
    };
    let wanted = match Wanted::of(&api, &query) {
        Ok(wanted) => wanted,
        Err(error) => return error.reply(),
    };
    let text = request.uri().query().unwrap_or_default();
    let key = key_in(&wanted.group, &wanted.key);
    if let Some(said) = passing::look(&api, &caller, key, text).await {
        return passed_back(said);
    }
    let is_text = query.format.as_deref() == Some("text");
    match look(&api, &wanted, query.node) {
        Some(view) if is_text => view.to_string().into_response(),
        Some(view) => reply::json(StatusCode::OK, &view),
        None => nothing(format!("nobody fetches {} now", query.key)),
    }
}

/// The key and its group.
struct Wanted {
    group: Group,
    key: KeyHash,
}

impl Wanted {
    fn of(api: &Api, query: &SwarmQuery) -> Result<Self, FindError> {
        let key: Key = query.key.parse()?;
        let group: Group = query.group.parse()?;
        lookup::place(api, &group)?;
        let key = KeyHash::of(key.as_str());
        Ok(Self { group, key })
    }
}

fn look(api: &Api, Wanted { group, key }: &Wanted, node: Option<Holder>) -> Option<View> {
    let topology = api.current.get();
    let view = api.crowd.as_ref()?.explain((group, key), node, &topology)?;
    let own = api.instances.as_ref().map(|instances| instances.own());
    Some(view.by(own))
}

/// What another instance answered.
fn passed_back(said: Reply) -> Response {
    let is_json = said.body.first() == Some(&b'{');
    let kind = if is_json {
        "application/json; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let mut response = (said.status, said.body).into_response();
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn nothing(message: String) -> Response {
    reply::json(StatusCode::NOT_FOUND, &MessageReply { message })
}
