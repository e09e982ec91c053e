//! POST leave: a node goes down, and is not handed out any more.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Ack, LeaveRequest};

use crate::{
    api::{
        Api, body,
        passing::{self, Caller},
        reply,
        subject::{Subject, SubjectError},
    },
    store::{Change, ChangeKind},
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match leave(&api, request).await {
        Ok(()) => {
            let message = "left".to_owned();
            reply::json(
                StatusCode::CREATED,
                &Ack {
                    success: true,
                    message,
                    ..Ack::default()
                },
            )
        }
        Err(error) => error.reply(),
    }
}

async fn leave(api: &Api, request: Request) -> Result<(), SubjectError> {
    let caller = Caller::of(api, &request)?;
    let call: LeaveRequest = body::read_small(api, request).await?;
    let subject = Subject::find(api, caller.agent(), &call.group, &call.host).await?;
    if let Some(crowd) = &api.crowd {
        crowd.gone(subject.holder);
    }
    if caller == Caller::Instance {
        // The other one writes it down.
        return Ok(());
    }
    let told = passing::leave(api, &caller, &call);
    let Some(node) = subject.node else {
        // Nobody of its group is known.
        told.await;
        return Ok(());
    };
    let change = Change {
        node,
        version: None,
        kind: ChangeKind::Leave,
    };
    let (applied, ()) = tokio::join!(subject.database.apply(change, None), told);
    applied?;
    Ok(())
}
