//! One connection of a peer, from its first request to its last.

use std::net::{IpAddr, SocketAddr};

use daemon::{scope::Scope, serve::places::ConnectionPlace, tls::Socket};
use tokio::{net::TcpStream, time::timeout};
use tracing::debug;

use super::{Inner, count::UploadOutcome, rack, unknown};
use crate::{
    chunks::start_of,
    content::{Called, Object, Recipient, Source},
    digest::Digest,
    http::{
        ALTERNATES_FIELD, Answer, ByteRange, Connection, Framing, Method, ObjectRef, RackCall,
        Reference, Reply, Request, STATE_FIELD, WITHHELD,
    },
    listen::{self, Accepted, Client, Refused, Service},
    own::{self, Prepared, Unfit},
    sockets::Meter,
};

/// The type of a manifest that is not there yet.
const UNTOLD: &str = "application/octet-stream";

pub(super) async fn run(server: &Inner, accepted: Accepted, scope: &Scope) {
    let Accepted {
        stream,
        remote,
        place,
    } = accepted;
    let registered = server.sockets.register(remote, &stream);
    let handshake = secured(server, stream, remote, (&registered.meter, &place));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = place.evicted() => return,
        () = scope.draining() => return,
    };
    let Some(stream) = stream else { return };
    let session = PeerSession {
        server,
        remote: remote.ip().to_canonical(),
        meter: registered.meter.clone(),
        client: Client {
            stream: &stream,
            place: &place,
            limits: server.settings.limits(),
        },
    };
    listen::serve(&session, scope).await;
    // The watcher looks at the socket a last time, so it comes before the socket's end.
    drop(registered);
    drop(stream);
    drop(place);
}

/// The connection once its other side has shown who it is; `None` where it is not to be served.
async fn secured(
    server: &Inner,
    stream: TcpStream,
    remote: SocketAddr,
    (meter, place): (&Meter, &ConnectionPlace),
) -> Option<Socket> {
    let limits = server.settings.limits().at(place);
    let overhead = meter.clone();
    let agents = &server.settings.agents;
    let taken = agents.accept(stream, remote, limits.head, overhead).await;
    taken.ok()
}

/// A connection and what its bytes are counted by.
struct PeerSession<'a> {
    server: &'a Inner,
    remote: IpAddr,
    meter: Meter,
    client: Client<'a>,
}

/// Why an object is not given.
enum Absent {
    /// It is not here, or not shared.
    Missing,
    /// It is here, under another name or as another kind: the next one who asks may well get it.
    Withheld,
}

impl Service for PeerSession<'_> {
    fn client(&self) -> Client<'_> {
        self.client
    }

    fn received(&self, bytes: usize) {
        self.meter.received_head(bytes);
    }

    fn sent(&self, bytes: usize) {
        self.meter.sent_head(bytes);
    }

    fn is_welcome(&self) -> bool {
        let agents = &self.server.settings.agents;
        agents.still_takes(self.client.stream, self.remote)
    }

    fn refused(&self, why: Refused) {
        self.server.counts.request(match why {
            Refused::Invalid => UploadOutcome::Invalid,
            Refused::Path => UploadOutcome::Missing,
        });
    }

    fn pong(&self, _: Answer, connection: Connection) -> Vec<u8> {
        Reply::new(200)
            .field("Docker-Distribution-API-Version", "registry/2.0")
            .field("Content-Length", 0)
            .end(connection)
    }

    fn rack(&self, call: &RackCall) -> Option<String> {
        rack::answer(self.server.tracker.as_ref()?, self.remote, call)
    }

    fn busy(&self, _: &ObjectRef, request: &Request) -> Vec<u8> {
        self.server.counts.request(UploadOutcome::Busy);
        let reply = Reply::new(503).field("Retry-After", 1);
        let text = "all connections are taken";
        reply.error(
            "TOOMANYREQUESTS",
            text,
            request.method.answer(),
            Connection::Close,
        )
    }

    async fn object(
        &self,
        object: &ObjectRef,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        match self.find(object, request).await {
            Ok(found) => self.give(object, found, request, connection).await,
            Err(absent) => {
                let answer = request.method.answer();
                self.missing(object, absent, answer, connection).await
            }
        }
    }
}

impl PeerSession<'_> {
    async fn find(&self, object: &ObjectRef, request: &Request) -> Result<Object, Absent> {
        let content = &self.server.content;
        let digest = match &object.reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let registry = object.registry.as_deref().ok_or(Absent::Missing)?;
                let digest = content.resolve(registry, &object.repository, tag);
                digest.ok_or(Absent::Missing)?
            }
        };
        let found = if content.may_serve(&digest) {
            own::open(content, &digest, &self.server.unreadable).await
        } else {
            None
        };
        if let Some(found) = found {
            return self.named(object, found).await;
        }
        let found = self.growing(object, &digest, request).await?;
        if content.has_private() {
            self.named(object, found).await
        } else {
            Ok(found)
        }
    }

    /// It, where peers may have it under the name that they ask for.
    async fn named(&self, object: &ObjectRef, found: Object) -> Result<Object, Absent> {
        if own::is_named(&self.server.content, object, &found, Recipient::Peer).await {
            Ok(found)
        } else {
            Err(Absent::Withheld)
        }
    }

    /// What this node is still fetching, once its first requested byte is there: all of a manifest, which
    /// says itself of which type it is.
    async fn growing(
        &self,
        object: &ObjectRef,
        digest: &Digest,
        request: &Request,
    ) -> Result<Object, Absent> {
        let growing = self.server.content.growing(digest).await;
        let growing = growing.ok_or(Absent::Missing)?;
        if !growing.is_given(object.kind, Called::from(object)) {
            return Err(Absent::Withheld);
        }
        if request.method == Method::Get {
            let start = match request.range {
                _ if growing.is_manifest() => growing.total().saturating_sub(1),
                // The whole chunk is sent then: wait for its first byte.
                Some(ByteRange::From(start)) if request.chunks => start_of(start),
                Some(ByteRange::From(start) | ByteRange::Between(start, _)) => start,
                Some(ByteRange::Last(count)) => growing.total().saturating_sub(count),
                None => 0,
            };
            let first = growing.beyond(start);
            let reached = timeout(self.server.settings.first_byte, first).await;
            let reached = reached.ok().ok_or(Absent::Missing)?;
            if reached.bytes <= start || reached.withdrawn {
                return Err(Absent::Missing);
            }
        }
        // Its head may be asked for before it is there.
        let is_untold = growing.is_manifest() && growing.reached().bytes < growing.total();
        Ok(Object {
            digest: digest.clone(),
            size: growing.total(),
            media_type: is_untold.then(|| UNTOLD.to_owned()),
            source: Source::Growing(growing),
            chunks: None,
        })
    }

    async fn missing(
        &self,
        object: &ObjectRef,
        absent: Absent,
        answer: Answer,
        connection: Connection,
    ) -> Connection {
        self.server.counts.request(UploadOutcome::Missing);
        let (code, text) = unknown(object.kind);
        let reply = match absent {
            Absent::Missing => Reply::new(404),
            Absent::Withheld => Reply::new(404).field(STATE_FIELD, WITHHELD),
        };
        let bytes = reply.error(code, text, answer, connection);
        self.say(&bytes, connection).await
    }

    async fn give(
        &self,
        object: &ObjectRef,
        found: Object,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let answer = request.method.answer();
        let digest = found.digest.clone();
        let is_growing = matches!(found.source, Source::Growing(_));
        let _feeding = is_growing.then(|| self.server.fed.begin(&digest, self.remote));
        let framing = Framing::Length;
        match own::prepare(found, object.kind, request, framing, connection).await {
            Ok(prepared) => self.upload(&prepared, &digest, request, connection).await,
            Err(Unfit::Range(size, _)) => {
                self.server.counts.request(UploadOutcome::Range);
                let reply = Reply::new(416).field("Content-Range", format_args!("bytes */{size}"));
                let text = "the object has no such part";
                let bytes = reply.error("RANGE_INVALID", text, answer, connection);
                self.say(&bytes, connection).await
            }
            Err(error) => {
                debug!(%digest, error = %daemon::telemetry::chain(&error), "not served");
                let absent = match error {
                    Unfit::NotManifest(_) | Unfit::TooLong(_) => Absent::Withheld,
                    Unfit::Range(..) | Unfit::Read(_) => Absent::Missing,
                };
                self.missing(object, absent, answer, connection).await
            }
        }
    }

    async fn upload(
        &self,
        prepared: &Prepared,
        digest: &Digest,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let server = self.server;
        let slot = if prepared.is_long() {
            let Ok(slot) = server.slots.take(self.remote).await else {
                return self.busy(digest, request, connection).await;
            };
            server.counts.slots.increment(1);
            Some(slot)
        } else {
            None
        };
        let settings = &server.settings;
        let stream = self.client.stream;
        self.meter.will_send(stream.tcp(), prepared.certain());
        let sent = prepared
            .send(stream, &settings.pace, settings.receiver, |bytes| {
                self.meter.sent_body(bytes);
                server.counts.bytes.increment(bytes);
            })
            .await;
        self.meter.sent_head(sent.head);
        if slot.is_some() {
            server.counts.slots.decrement(1);
        }
        drop(slot);
        match sent.result {
            Ok(()) => {
                server.counts.request(UploadOutcome::Served);
                // A header can name any address; the connection's own address is certain.
                if let Some(agent) = request.agent
                    && agent.ip() == self.remote
                    && request.range.is_none()
                    && request.method == Method::Get
                {
                    server.alternates.add(digest, agent);
                }
                connection
            }
            Err(error) => {
                server.counts.request(UploadOutcome::Cut);
                debug!(%digest, error = %daemon::telemetry::chain(&error), "upload ended early");
                Connection::Close
            }
        }
    }

    /// Our own agents get a *busy* reply with alternates; other clients get a 404, which makes them
    /// go elsewhere fastest.
    async fn busy(&self, digest: &Digest, request: &Request, connection: Connection) -> Connection {
        let server = self.server;
        server.counts.request(UploadOutcome::Busy);
        let bytes = if request.agent.is_some() {
            let mut reply = Reply::new(503).field("Retry-After", 1);
            let others = server.alternates.of(digest, request.agent);
            if !others.is_empty() {
                let others: Vec<_> = others.iter().map(ToString::to_string).collect();
                reply = reply.field(ALTERNATES_FIELD, others.join(", "));
            }
            reply.error(
                "TOOMANYREQUESTS",
                "all upload slots are taken",
                Answer::Whole,
                connection,
            )
        } else {
            Reply::new(404).error(
                "BLOB_UNKNOWN",
                "all upload slots are taken",
                Answer::Whole,
                connection,
            )
        };
        self.say(&bytes, connection).await
    }
}
