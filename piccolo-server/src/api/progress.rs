//! POST progress: how far a node is with what it fetches.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Key, ProgressReply, ProgressRequest, Standing};

use crate::{
    api::{
        Api, body,
        passing::{self, Caller, Told},
        reply,
        subject::{Subject, SubjectError},
    },
    crowd::{Crowd, Fetcher},
    key_hash::KeyHash,
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match progress(&api, request).await {
        Ok(results) => reply::json(StatusCode::OK, &results),
        Err(error) => error.reply(),
    }
}

async fn progress(api: &Api, request: Request) -> Result<ProgressReply, SubjectError> {
    let caller = Caller::of(api, &request)?;
    let call: ProgressRequest = body::read(api, request).await?;
    let most = api.limits.find_keys;
    if call.fetches.len() > most {
        return Err(SubjectError::TooManyKeys {
            got: call.fetches.len(),
            most,
        });
    }
    let subject = Subject::named(api, caller.agent(), call.group.parse()?, call.holder)?;
    let topology = api.current.get();
    let source = caller.source(&subject, call.caller);
    let who = Fetcher::new(&subject.group, subject.holder, source, &topology);
    let keys = call.fetches.iter().map(|fetch| fetch.key.parse());
    let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
    let may_take_part = |crowd: &&Arc<Crowd>| {
        let is_stranger = caller.is_stranger(&subject, crowd);
        if is_stranger {
            Crowd::count_stranger();
        }
        !is_stranger
    };
    let Some(crowd) = api.crowd.as_ref().filter(may_take_part) else {
        let results = call.fetches.iter().map(|_| Standing::Noted).collect();
        return Ok(ProgressReply { results });
    };
    let told = passing::reports(api, &caller, who, (&call, &keys)).await;
    let each = call.fetches.iter().zip(&keys).zip(told);
    let each = each.map(|((fetch, key), told)| match told {
        Told::There(standing) => standing,
        Told::Here(_) => crowd.progress(who, &KeyHash::of(key.as_str()), fetch),
    });
    Ok(ProgressReply {
        results: each.collect(),
    })
}
