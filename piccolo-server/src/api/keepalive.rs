//! POST keepalive: a sign of life.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Ack, KeepaliveRequest};

use crate::{
    api::{
        Api, body, reply,
        subject::{Subject, SubjectError},
    },
    reports::Report,
    store::Version,
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match keepalive(&api, request).await {
        Ok(resync) => {
            let message = "keep alive success".to_owned();
            reply::json(
                StatusCode::CREATED,
                &Ack {
                    success: true,
                    message,
                    resync,
                },
            )
        }
        Err(error) => error.reply(),
    }
}

/// Gives whether the agent should sync.
async fn keepalive(api: &Api, request: Request) -> Result<bool, SubjectError> {
    let call: KeepaliveRequest = body::read(request).await?;
    let Subject {
        realm,
        node,
        holder,
    } = Subject::new(api, &call.group, &call.host).await?;
    let report = Report::sift(holder, call.observations, call.failures);
    api.reported(holder, &report);
    let known = realm.nodes.seen(node, api.now(), |node| {
        if let Some(load) = call.load {
            node.report_load(load);
        }
        node.version()
    });
    let claimed = call
        .epoch
        .zip(call.seq)
        .map(|(epoch, seq)| Version { epoch, seq });
    if claimed.is_none() || claimed == known {
        return Ok(false);
    }
    // Another instance may have taken changes that are not known here yet.
    let row = realm.store.node(node).await?;
    Ok(row.and_then(|row| row.version) != claimed)
}
