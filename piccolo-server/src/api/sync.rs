//! POST sync: a node's whole set.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use piccolo_api::AdvertiseRequest;

use crate::{
    api::{
        Api, advertise, body,
        subject::{self, Subject, SubjectError},
    },
    reports::Report,
    store::{Change, ChangeKind, Outcome},
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match sync(&api, request).await {
        Ok(outcome) => advertise::created(&outcome),
        Err(error) => error.reply(),
    }
}

async fn sync(api: &Api, request: Request) -> Result<Outcome, SubjectError> {
    let call: AdvertiseRequest = body::read(request).await?;
    let keys = subject::hashes(api, &call.keys)?;
    let version = advertise::version(&call);
    let Subject {
        realm,
        node,
        holder,
    } = Subject::new(api, &call.group, &call.holder).await?;
    if let Some(load) = call.load {
        realm
            .nodes
            .seen(node, api.now(), |node| node.report_load(load));
    }
    let report = Report::sift(holder, call.observations, call.failures);
    api.reported(holder, &report);
    Ok(realm
        .changes
        .apply(Change {
            node,
            version,
            kind: ChangeKind::Replace(keys),
        })
        .await?)
}
