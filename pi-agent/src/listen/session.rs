//! A connection of a client with one of the listeners, from its first request to its last.

use std::{future::Future, time::Duration};

use daemon::{scope::Scope, serve::places::ConnectionPlace, tls::Socket};
use tokio::time::timeout;

use crate::{
    datapath::{Patience, finish, write_all},
    http::{
        Answer, Connection, HeadError, Inbox, Method, ObjectRef, RackCall, Reply, Request, Target,
    },
};

/// Deadlines of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For the next request.
    pub(crate) idle: Duration,
    /// For the rest of a head, once its first byte has arrived.
    pub(crate) head: Duration,
    /// For the next byte of a reply.
    pub(crate) patience: Duration,
}

impl Limits {
    /// Those of a connection at `place`.
    pub(crate) fn at(mut self, place: &ConnectionPlace) -> Self {
        if place.is_spare() {
            self.idle = self.idle.min(SPARE);
            self.head = self.head.min(SPARE);
        }
        self
    }
}

/// The connection of a session, and its limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) stream: &'a Socket,
    /// Its place among the connections of the listener.
    pub(crate) place: &'a ConnectionPlace,
    pub(crate) limits: Limits,
}

/// How long a connection with a spare place may take for its request.
const SPARE: Duration = Duration::from_secs(1);

/// Why a request is refused before an object is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not understood, or does not pull.
    Invalid,
    /// It requests a path that no object has.
    Path,
}

/// A listener's answers to the requests of one connection.
pub(crate) trait Service: Sync {
    /// The connection, its place, and how long its client may take.
    fn client(&self) -> Client<'_>;
    /// Received `bytes` bytes that do not belong to an object.
    fn received(&self, _bytes: usize) {}
    /// Whether requests on the connection are answered still.
    fn is_welcome(&self) -> bool {
        true
    }
    /// Sent `bytes` bytes that do not belong to an object.
    fn sent(&self, _bytes: usize) {}
    /// A request is refused.
    fn refused(&self, why: Refused);
    /// The reply to `/v2/`, which asks whether this is a registry.
    fn pong(&self, answer: Answer, connection: Connection) -> Vec<u8>;
    /// The reply to a call of a node of the rack, as JSON; `None` where such calls are not served.
    fn rack(&self, _call: &RackCall) -> Option<String> {
        None
    }
    /// The reply to a request for an object on a connection with a spare place.
    fn busy(&self, object: &ObjectRef, request: &Request) -> Vec<u8>;
    /// Replies with an object, or with the reason against it.
    fn object(
        &self,
        object: &ObjectRef,
        request: &Request,
        connection: Connection,
    ) -> impl Future<Output = Connection> + Send;

    /// Sends a reply that has no object of this node's store.
    fn say(&self, bytes: &[u8], connection: Connection) -> impl Future<Output = Connection> + Send {
        async move {
            let Client { stream, limits, .. } = self.client();
            match write_all(stream, bytes, Patience(limits.patience)).await {
                Ok(()) => {
                    self.sent(bytes.len());
                    connection
                }
                Err(_) => Connection::Close,
            }
        }
    }
}

/// What comes next on a connection.
#[derive(Debug)]
enum Next {
    /// A request, and the length of its head.
    Request(Request, usize),
    /// Bytes that are no request, after which the connection is useless, and how many were read.
    Invalid(usize),
    /// Nothing more.
    End,
}

/// Answers one request after the other, and ends the connection so that the client reads all of it.
pub(crate) async fn serve(service: &impl Service, scope: &Scope) {
    let mut inbox = Inbox::default();
    let Client { stream, place, .. } = service.client();
    loop {
        place.waits();
        let next = tokio::select! {
            biased;
            next = next(service, &mut inbox, scope) => next,
            // It makes room at once: there is no reply that the client has yet to read.
            () = place.evicted() => return,
        };
        if turn(service, next, scope).await == Connection::Close {
            break;
        }
    }
    finish(stream).await;
}

async fn turn(service: &impl Service, next: Next, scope: &Scope) -> Connection {
    match next {
        Next::Request(request, length) => {
            service.received(length);
            if !service.is_welcome() {
                return Connection::Close;
            }
            let place = service.client().place;
            // One that was told to make room as its request came does so after the reply.
            let stays = place.answers() && !place.is_spare();
            let connection = match request.connection(scope) {
                Connection::KeepAlive if stays => Connection::KeepAlive,
                _ => Connection::Close,
            };
            answer(service, &request, connection).await
        }
        Next::Invalid(length) => {
            service.received(length);
            service.refused(Refused::Invalid);
            let text = "the request is not understood";
            let reply = Reply::new(400);
            let bytes = reply.error("UNSUPPORTED", text, Answer::Whole, Connection::Close);
            service.say(&bytes, Connection::Close).await
        }
        Next::End => Connection::Close,
    }
}

/// Waits for the next request, ending early when the scope drains.
async fn next(service: &impl Service, inbox: &mut Inbox, scope: &Scope) -> Next {
    let Client {
        stream,
        place,
        limits,
    } = service.client();
    let limits = limits.at(place);
    if inbox.len() == 0 {
        stream.rest();
        let begun = tokio::select! {
            biased;
            () = scope.draining() => false,
            begun = inbox.begin(stream) => begun,
            () = tokio::time::sleep(limits.idle) => false,
        };
        if !begun {
            return Next::End;
        }
    }
    match timeout(limits.head, inbox.head(stream, Request::parse)).await {
        Ok(Ok((request, length))) => Next::Request(request, length),
        Ok(Err(HeadError::Parse(_) | HeadError::TooLong)) => Next::Invalid(inbox.len()),
        Ok(Err(HeadError::Closed | HeadError::Cut | HeadError::Read(_))) | Err(_) => Next::End,
    }
}

async fn answer(service: &impl Service, request: &Request, connection: Connection) -> Connection {
    let answer = request.method.answer();
    let bytes = match &request.target {
        _ if request.method == Method::Other => {
            service.refused(Refused::Invalid);
            let reply = Reply::new(405).field("Allow", "GET, HEAD");
            reply.error("UNSUPPORTED", "only pulling is served", answer, connection)
        }
        Target::Object(object) if service.client().place.is_spare() => {
            let bytes = service.busy(object, request);
            return service.say(&bytes, Connection::Close).await;
        }
        Target::Object(object) => return service.object(object, request, connection).await,
        Target::Ping => service.pong(answer, connection),
        Target::Rack(call) => match service.rack(call) {
            Some(json) => Reply::new(200).json(&json, answer, connection),
            None => no_path(service, answer, connection),
        },
        Target::Other => no_path(service, answer, connection),
    };
    service.say(&bytes, connection).await
}

fn no_path(service: &impl Service, answer: Answer, connection: Connection) -> Vec<u8> {
    service.refused(Refused::Path);
    Reply::new(404).error("NAME_UNKNOWN", "no such path", answer, connection)
}
