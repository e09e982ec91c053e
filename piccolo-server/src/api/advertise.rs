//! POST advertise: a node adds keys, or removes some.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Ack, AdvertiseRequest, Load};

use crate::{
    api::{
        Api, body, reply,
        subject::{self, Subject, SubjectError},
    },
    nodes::Node,
    reports::Report,
    store::{Change, ChangeKind, ChangeOutcome, Version},
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match advertise(&api, request).await {
        Ok(outcome) => created(&outcome),
        Err(error) => error.reply(),
    }
}

async fn advertise(api: &Api, request: Request) -> Result<ChangeOutcome, SubjectError> {
    let caller = body::caller(&request);
    let call: AdvertiseRequest = body::read(api, request).await?;
    let added = subject::hashes(api, &call.keys)?;
    let mut removed = subject::hashes(api, &call.removed)?;
    removed.retain(|key| added.binary_search(key).is_err());
    let version = version(&call);
    if added.is_empty() && removed.is_empty() && version.is_none() {
        return Err(SubjectError::Nothing);
    }
    let subject = Subject::new(api, caller, &call.group, &call.holder).await?;
    let node = subject.node;
    let report = Report::sift(subject.holder, call.observations, call.failures);
    api.reported(&subject, &report);
    if let Some(crowd) = &api.crowd {
        // Even if the change is not stored, no requester must be sent there for these.
        crowd.withdrawn(&subject.group, subject.holder, &removed);
    }
    let kind = ChangeKind::Delta { added, removed };
    let change = Change {
        node,
        version,
        kind,
    };
    apply(&subject, change, call.load).await
}

/// Stores a change, then notes the node's load: a new node is known only after its change is
/// stored.
pub(crate) async fn apply(
    subject: &Subject,
    change: Change,
    load: Option<Load>,
) -> Result<ChangeOutcome, SubjectError> {
    let outcome = subject.database.apply(change).await?;
    if let Some(load) = load {
        let note = |node: &Node| node.report_load(load);
        subject.database.nodes().note(subject.node, note);
    }
    Ok(outcome)
}

pub(crate) fn version(call: &AdvertiseRequest) -> Option<Version> {
    Some(Version {
        epoch: call.epoch?,
        seq: call.seq?,
    })
}

/// What advertise and sync answer.
pub(crate) fn created(outcome: &ChangeOutcome) -> Response {
    let ack = match outcome {
        ChangeOutcome::Done(_) => Ack {
            success: true,
            message: "Distribution created!".to_owned(),
            resync: false,
            mates: None,
        },
        ChangeOutcome::Gap => Ack {
            success: false,
            message: "this change does not continue the set that is known; sync it".to_owned(),
            resync: true,
            mates: None,
        },
    };
    reply::json(StatusCode::CREATED, &ack)
}
