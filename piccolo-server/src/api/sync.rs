//! POST sync: a node's whole set.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use piccolo_api::AdvertiseRequest;

use crate::{
    api::{
        Api, advertise, body, change,
        speaker::Speaker,
        subject::{self, Subject, SubjectError},
    },
    reports::Report,
    store::{ChangeKind, ChangeOutcome},
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match sync(&api, request).await {
        Ok(outcome) => advertise::created(&api, &outcome),
        Err(error) => error.reply(),
    }
}

async fn sync(api: &Api, request: Request) -> Result<ChangeOutcome, SubjectError> {
    let speaker = Speaker::of(&request);
    let call: AdvertiseRequest = body::read(api, request).await?;
    let keys = subject::hashes(api, &call.keys)?;
    let version = advertise::version(&call);
    let subject = Subject::of(api, speaker.as_ref(), &call.group, &call.holder)?;
    let report = Report::sift(subject.holder, call.observations, call.failures);
    api.reported(&subject, &report);
    let whole = (version, ChangeKind::Replace(keys));
    change::apply(api, &subject, speaker.as_ref(), whole, call.load).await
}
