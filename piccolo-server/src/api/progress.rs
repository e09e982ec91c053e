//! POST progress: how far a node is with what it fetches.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Key, ProgressReply, ProgressRequest};

use crate::{
    api::{
        Api, body, reply,
        subject::{Subject, SubjectError},
    },
    crowd::Fetcher,
    key_hash::KeyHash,
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match progress(&api, request).await {
        Ok(results) => reply::json(StatusCode::OK, &results),
        Err(error) => error.reply(),
    }
}

async fn progress(api: &Api, request: Request) -> Result<ProgressReply, SubjectError> {
    let caller = body::caller(&request);
    let call: ProgressRequest = body::read(api, request).await?;
    let most = api.limits.find_keys;
    if call.fetches.len() > most {
        return Err(SubjectError::TooManyKeys {
            got: call.fetches.len(),
            most,
        });
    }
    let holder = call.holder.to_string();
    let subject = Subject::new(api, caller, &call.group, &holder).await?;
    let topology = api.current.get();
    let who = Fetcher::new(&subject.group, subject.holder, &topology);
    let mut results = Vec::with_capacity(call.fetches.len());
    for fetch in &call.fetches {
        let key: Key = fetch.key.parse()?;
        let hash = KeyHash::of(key.as_str());
        results.push(match &api.crowd {
            Some(crowd) => crowd.progress(who, &hash, fetch),
            None => piccolo_api::Standing::Noted,
        });
    }
    Ok(ProgressReply { results })
}
