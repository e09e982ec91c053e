//! POST keepalive: the node is alive.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Ack, KeepaliveRequest, Mates};

use crate::{
    api::{
        Api, body, reply,
        speaker::Speaker,
        subject::{Subject, SubjectError},
    },
    nodes::{Node, Sign},
    reports::Report,
    store::{Change, ChangeKind, Version},
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match keepalive(&api, request).await {
        Ok((resync, mates)) => {
            let message = "keep alive success".to_owned();
            reply::json(
                StatusCode::CREATED,
                &Ack {
                    success: true,
                    message,
                    resync,
                    mates,
                    keepalive_ms: api.keepalive_ms(),
                },
            )
        }
        Err(error) => error.reply(),
    }
}

/// Returns whether the agent should sync, and its rack mates where they are news.
async fn keepalive(api: &Api, request: Request) -> Result<(bool, Option<Mates>), SubjectError> {
    let speaker = Speaker::of(&request);
    let call: KeepaliveRequest = body::read_small(api, request).await?;
    let subject = Subject::find(api, speaker.as_ref(), &call.group, &call.host).await?;
    let report = Report::sift(subject.holder, call.observations, call.failures);
    api.reported(&subject, &report);
    let Subject {
        database,
        node,
        group,
        source,
        ..
    } = subject;
    let claimed = call
        .epoch
        .zip(call.seq)
        .map(|(epoch, seq)| Version { epoch, seq });
    // A keepalive makes no node: its agent is asked for the set.
    let Some(node) = node else {
        return Ok((claimed.is_some(), None));
    };
    let note = |node: &Node| {
        if let Some(load) = call.load {
            node.report_load(load);
        }
    };
    let known = match database.nodes().alive(node, source, api.now(), note) {
        Sign::Known(version) if claimed.is_none() || claimed == version => version,
        // Another instance may have accepted changes that this one does not know yet.
        Sign::Known(_) => database
            .store()
            .node(node)
            .await?
            .and_then(|row| row.version),
        // Its keys may have been evicted while it was silent, and must not be from now on.
        Sign::News => {
            let kind = ChangeKind::Return;
            let version = None;
            let change = Change {
                node,
                version,
                kind,
            };
            let outcome = database.apply(change, None).await?;
            outcome.applied().and_then(|applied| applied.version)
        }
    };
    let mates = call.mates.filter(|_| api.crowd.is_some()).and_then(|seen| {
        let nodes = (database.nodes(), api.now());
        let topology = api.current.get();
        api.mates.news((&group, node), seen, nodes, &topology)
    });
    Ok((claimed.is_some() && claimed != known, mates))
}
