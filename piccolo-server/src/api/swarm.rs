//! GET swarm: who of those that fetch a key takes it from whom.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use piccolo_api::{Group, Holder, Key, MessageReply};
use serde::Deserialize;

use crate::{
    api::{
        Api,
        lookup::{self, FindError},
        reply,
    },
    crowd::View,
    key_hash::KeyHash,
};

/// Whose crowd.
#[derive(Debug, Deserialize)]
pub(crate) struct SwarmQuery {
    key: String,
    group: String,
    /// A node whose way to the root is wanted, where it serves its peers.
    node: Option<Holder>,
    /// `text` for people, JSON otherwise.
    format: Option<String>,
}

pub(crate) async fn handle(
    State(api): State<Arc<Api>>,
    query: Result<Query<SwarmQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return FindError::Query(rejection.body_text()).reply(),
    };
    if api.crowd.is_none() {
        return nothing("crowds are switched off here (--swarm off)".to_owned());
    }
    match look(&api, &query) {
        Ok(Some(view)) if query.format.as_deref() == Some("text") => {
            view.to_string().into_response()
        }
        Ok(Some(view)) => reply::json(StatusCode::OK, &view),
        Ok(None) => nothing(format!("nobody fetches {} now", query.key)),
        Err(error) => error.reply(),
    }
}

fn look(api: &Api, query: &SwarmQuery) -> Result<Option<View>, FindError> {
    let key: Key = query.key.parse()?;
    let group: Group = query.group.parse()?;
    lookup::place(api, &group)?;
    let topology = api.current.get();
    let key = KeyHash::of(key.as_str());
    let crowd = api.crowd.as_ref();
    Ok(crowd.and_then(|crowd| crowd.explain((&group, &key), query.node, &topology)))
}

fn nothing(message: String) -> Response {
    reply::json(StatusCode::NOT_FOUND, &MessageReply { message })
}
