//! POST advertise: a node adds keys, or removes some.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Ack, AdvertiseRequest};

use crate::{
    api::{
        Api, body, change, reply,
        speaker::Speaker,
        subject::{self, Subject, SubjectError},
    },
    reports::Report,
    store::{ChangeKind, ChangeOutcome, Version},
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match advertise(&api, request).await {
        Ok(outcome) => created(&api, &outcome),
        Err(error) => error.reply(),
    }
}

async fn advertise(api: &Api, request: Request) -> Result<ChangeOutcome, SubjectError> {
    let speaker = Speaker::of(&request);
    let call: AdvertiseRequest = body::read(api, request).await?;
    let added = subject::hashes(api, &call.keys)?;
    let mut removed = subject::hashes(api, &call.removed)?;
    removed.retain(|key| added.binary_search(key).is_err());
    let version = version(&call);
    if added.is_empty() && removed.is_empty() && version.is_none() {
        return Err(SubjectError::Nothing);
    }
    let subject = Subject::of(api, speaker.as_ref(), &call.group, &call.holder)?;
    let report = Report::sift(subject.holder, call.observations, call.failures);
    api.reported(&subject, &report);
    if let Some(crowd) = &api.crowd {
        // Even if the change is not stored, no requester must be sent there for these.
        crowd.withdrawn(&subject.group, subject.holder, &removed);
    }
    let kind = ChangeKind::Delta { added, removed };
    change::apply(api, &subject, speaker.as_ref(), (version, kind), call.load).await
}

pub(crate) fn version(call: &AdvertiseRequest) -> Option<Version> {
    Some(Version {
        epoch: call.epoch?,
        seq: call.seq?,
    })
}

/// What advertise and sync answer.
pub(crate) fn created(api: &Api, outcome: &ChangeOutcome) -> Response {
    let ack = match outcome {
        ChangeOutcome::Done(_) => Ack {
            success: true,
            message: "Distribution created!".to_owned(),
            keepalive_ms: api.keepalive_ms(),
            ..Ack::default()
        },
        ChangeOutcome::Gap | ChangeOutcome::TooManyKeys => Ack {
            success: false,
            message: "this change does not continue the set that is known; sync it".to_owned(),
            resync: true,
            keepalive_ms: api.keepalive_ms(),
            ..Ack::default()
        },
    };
    reply::json(StatusCode::CREATED, &ack)
}
