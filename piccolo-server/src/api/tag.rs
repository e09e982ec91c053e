//! POST tag: what a tag stands for, asked of its registry by one node for all of a group.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use piccolo_api::{Key, TagReply, TagRequest};

use crate::{
    api::{
        Api, body,
        passing::{self, Caller, Told},
        reply,
        subject::{Subject, SubjectError},
    },
    crowd::Fetcher,
    key_hash::KeyHash,
    tags::Tags,
};

pub(crate) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    match tag(&api, request).await {
        Ok(answer) => reply::json(StatusCode::OK, &answer),
        Err(error) => error.reply(),
    }
}

async fn tag(api: &Api, request: Request) -> Result<TagReply, SubjectError> {
    let caller = Caller::of(api, &request)?;
    let call: TagRequest = body::read_small(api, request).await?;
    let subject = Subject::named(api, caller.agent(), call.group.parse()?, call.holder)?;
    let name: Key = call.tag.parse()?;
    // What is said of tags counts for a whole group, so it takes a node of the group to say it.
    if !is_alive(api, &subject) {
        return Ok(Tags::stranger());
    }
    let topology = api.current.get();
    let source = caller.source(&subject, None);
    let who = Fetcher::new(&subject.group, subject.holder, source, &topology);
    match passing::tag(api, &caller, who, (&call, &name)).await {
        Told::There(answer) => Ok(answer),
        Told::Here(_) => {
            let tag = who.key(&KeyHash::of(name.as_str()));
            Ok(if let Some(word) = call.said {
                api.tags.tell(tag, subject.holder, word)
            } else {
                let max_age = Duration::from_millis(call.max_age_ms);
                api.tags.ask(tag, subject.holder, max_age)
            })
        }
    }
}

fn is_alive(api: &Api, subject: &Subject) -> bool {
    let view = subject.database.nodes().view(api.now());
    subject.node.is_some_and(|node| view.alive(node).is_some())
}
