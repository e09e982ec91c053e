//! One connection of containerd, from its first request to its last.

use daemon::{scope::Scope, tls::Socket};
use tracing::debug;

use super::{Inner, count::MirrorOutcome};
use crate::{
    content::{Called, Object, Recipient},
    datapath::{Pace, Receiver},
    digest::Digest,
    fetch::{Delivery, Fetched, Small, Transfer, Want},
    http::{
        Answer, Connection, Framing, Kind, LAST_CHUNK, Method, ObjectRef, Reference, Reply, Request,
    },
    instance,
    listen::{self, Accepted, Client, Refused, Service},
    own::{self, Unfit},
    reference::TagName,
};

pub(super) async fn run(mirror: &Inner, accepted: Accepted, scope: &Scope) {
    let Accepted { stream, place, .. } = accepted;
    let stream = Socket::plain(stream);
    let session = ContainerdSession {
        mirror,
        client: Client {
            stream: &stream,
            place: &place,
            limits: mirror.settings.limits(),
        },
    };
    listen::serve(&session, scope).await;
    drop(stream);
    drop(place);
}

/// A connection with containerd.
struct ContainerdSession<'a> {
    mirror: &'a Inner,
    client: Client<'a>,
}

impl Service for ContainerdSession<'_> {
    fn client(&self) -> Client<'_> {
        self.client
    }

    fn refused(&self, why: Refused) {
        let outcome = match why {
            Refused::Invalid => MirrorOutcome::Invalid,
            Refused::Path => MirrorOutcome::Miss,
        };
        self.count(None, outcome);
    }

    fn pong(&self, answer: Answer, connection: Connection) -> Vec<u8> {
        let reply = Reply::new(200)
            .field("Docker-Distribution-API-Version", "registry/2.0")
            .field("Content-Type", "application/json")
            .field("Content-Length", 2);
        let reply = match self.mirror.settings.instance {
            Some(this) => reply.field(instance::FIELD, this),
            None => reply,
        };
        let mut bytes = reply.end(connection);
        if answer == Answer::Whole {
            bytes.extend_from_slice(b"{}");
        }
        bytes
    }

    fn busy(&self, object: &ObjectRef, request: &Request) -> Vec<u8> {
        self.missing(object.kind, request.method.answer(), Connection::Close)
    }

    async fn object(
        &self,
        object: &ObjectRef,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        if self.is_manifest(object) && self.is_private(object, request).await {
            return self.withhold(object.kind, request, connection).await;
        }
        let Some(digest) = self.resolve(object, request).await else {
            return self.miss(object.kind, request, connection).await;
        };
        match own::open(&self.mirror.content, &digest, &self.mirror.unreadable).await {
            Some(own) if self.is_withheld(object, &own, request).await => {
                self.withhold(object.kind, request, connection).await
            }
            Some(own) if self.is_named(object, &own).await => {
                self.own(object, own, request, connection).await
            }
            Some(_) | None => self.fetch(object, &digest, request, connection).await,
        }
    }
}

impl ContainerdSession<'_> {
    /// The requested digest. A tag has one where this node resolves tags.
    async fn resolve(&self, object: &ObjectRef, request: &Request) -> Option<Digest> {
        match &object.reference {
            Reference::Digest(digest) => Some(digest.clone()),
            // This node may have asked itself, by a name that it does not know for its own.
            Reference::Tag(_) if request.mirrored => None,
            Reference::Tag(tag) => {
                let tags = self.mirror.settings.tags.as_ref()?;
                let name = tag_name(object)?;
                let content = &self.mirror.content;
                let own = content.resolve(&name.registry, &name.repository, tag);
                tags.resolve(&name, own).await
            }
        }
    }

    /// Whether a manifest is asked for, as far as that is known.
    fn is_manifest(&self, object: &ObjectRef) -> bool {
        match &object.reference {
            Reference::Digest(digest) if object.kind == Kind::Blob => {
                self.mirror.content.is_manifest(digest)
            }
            Reference::Digest(_) | Reference::Tag(_) => true,
        }
    }

    /// Whether manifests of the repository are left to its registry, which gives them to whom it may.
    async fn is_private(&self, object: &ObjectRef, request: &Request) -> bool {
        // Who passes a request on may be this node, as it asks.
        let openness = self.mirror.settings.openness.as_ref();
        if let (Some(openness), Some(name), false) = (openness, named(object), request.mirrored) {
            openness.settle(&name).await;
        }
        self.mirror.content.is_private(Called::from(object))
    }

    /// Whether an object of this node is a manifest of a private repository.
    async fn is_withheld(&self, object: &ObjectRef, own: &Object, request: &Request) -> bool {
        let content = &self.mirror.content;
        content.has_private()
            && own::is_manifest(content, object.kind, own).await
            && self.is_private(object, request).await
    }

    /// Whether an object of this node belongs to the name that it is asked for under.
    async fn is_named(&self, object: &ObjectRef, own: &Object) -> bool {
        own::is_named(&self.mirror.content, object, own, Recipient::Containerd).await
    }

    /// Replies with an object of this node.
    async fn own(
        &self,
        object: &ObjectRef,
        own: Object,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let digest = own.digest.clone();
        let fetcher = &self.mirror.fetcher;
        if object.kind == Kind::Manifest && fetcher.is_news(&digest) {
            fetcher
                .expect_missing_children(&want(object, &digest))
                .await;
        }
        let framing = request.framing();
        let prepared = match own::prepare(own, object.kind, request, framing, connection).await {
            Ok(prepared) => prepared,
            Err(Unfit::Range(size, _)) => return self.range(object.kind, size, connection).await,
            Err(error) => {
                debug!(%digest, error = %daemon::telemetry::chain(&error), "not served");
                return self.miss(object.kind, request, connection).await;
            }
        };
        let count = |bytes| self.mirror.counts.own_bytes.increment(bytes);
        let receiver = Receiver::patient(self.client.limits.patience);
        let sent = prepared
            .send(self.client.stream, &Pace::free(), receiver, count)
            .await;
        match sent.result {
            Ok(()) => {
                self.count(Some(object.kind), MirrorOutcome::Own);
                connection
            }
            Err(error) => {
                debug!(%digest, error = %daemon::telemetry::chain(&error), "reply ended early");
                self.count(Some(object.kind), MirrorOutcome::Gone);
                Connection::Close
            }
        }
    }

    /// Replies 404: containerd asks its next host.
    async fn miss(&self, kind: Kind, request: &Request, connection: Connection) -> Connection {
        let bytes = self.missing(kind, request.method.answer(), connection);
        self.say(&bytes, connection).await
    }

    /// The same for what belongs to a private repository.
    async fn withhold(&self, kind: Kind, request: &Request, connection: Connection) -> Connection {
        self.count(Some(kind), MirrorOutcome::Private);
        let text = "the registry of a private repository gives its manifests";
        let answer = request.method.answer();
        let bytes = Reply::new(404).error("MANIFEST_UNKNOWN", text, answer, connection);
        self.say(&bytes, connection).await
    }

    fn missing(&self, kind: Kind, answer: Answer, connection: Connection) -> Vec<u8> {
        self.count(Some(kind), MirrorOutcome::Miss);
        let (code, text) = match kind {
            Kind::Manifest => ("MANIFEST_UNKNOWN", "no node is known to have the manifest"),
            Kind::Blob => ("BLOB_UNKNOWN", "no node is known to have the blob"),
        };
        Reply::new(404).error(code, text, answer, connection)
    }

    /// Replies 416: the object has no such part.
    async fn range(&self, kind: Kind, size: u64, connection: Connection) -> Connection {
        self.count(Some(kind), MirrorOutcome::Range);
        let reply = Reply::new(416)
            .field("Content-Range", format_args!("bytes */{size}"))
            .field("Content-Length", 0);
        self.say(&reply.end(connection), connection).await
    }

    fn count(&self, kind: Option<Kind>, outcome: MirrorOutcome) {
        self.mirror.counts.request(kind, outcome);
    }

    async fn fetch(
        &self,
        object: &ObjectRef,
        digest: &Digest,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        // A request that another mirror passed on is not passed on again.
        if request.mirrored {
            return self.miss(object.kind, request, connection).await;
        }
        self.fetched(object, digest, request, connection).await
    }

    /// Asks the peers and replies with what they have.
    async fn fetched(
        &self,
        object: &ObjectRef,
        digest: &Digest,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let want = want(object, digest);
        let fetcher = &self.mirror.fetcher;
        match fetcher.fetch(&want, request.method, request.range).await {
            Fetched::Own(own) if self.is_named(object, &own).await => {
                self.own(object, own, request, connection).await
            }
            // By the name of a blob, and a manifest all the same.
            Fetched::Small(small)
                if small.media_type().is_some() && self.is_private(object, request).await =>
            {
                self.withhold(object.kind, request, connection).await
            }
            Fetched::Small(small) => self.small(&want, &small, request, connection).await,
            Fetched::Large(transfer) => {
                self.large(object.kind, digest, *transfer, request, connection)
                    .await
            }
            Fetched::Size(size) => {
                self.count(Some(object.kind), MirrorOutcome::Peer);
                let reply = Reply::new(200)
                    .field("Accept-Ranges", "bytes")
                    .field("Content-Length", size);
                let head = own::describe(reply, digest, None).end(connection);
                self.say(&head, connection).await
            }
            Fetched::Unsatisfiable(size) => self.range(object.kind, size, connection).await,
            Fetched::Own(_) | Fetched::Nowhere => {
                if let Some(head) = self.told(object, digest, request) {
                    self.count(Some(object.kind), MirrorOutcome::Told);
                    return self.say(&head.end(connection), connection).await;
                }
                self.mirror.content.missed(digest, request.range);
                self.miss(object.kind, request, connection).await
            }
        }
    }

    /// The reply to a HEAD of a tag whose registry was asked for all nodes of the group: containerd asks for
    /// the manifest by its digest next, here or at its next host.
    fn told(&self, object: &ObjectRef, digest: &Digest, request: &Request) -> Option<Reply> {
        let name = tag_name(object).filter(|_| request.method == Method::Head)?;
        let tags = self.mirror.settings.tags.as_ref()?;
        let (size, media_type) = tags.described(&name, digest)?;
        let reply = Reply::new(200).field("Content-Length", size);
        Some(own::describe(reply, digest, Some(&media_type)))
    }

    async fn small(
        &self,
        want: &Want,
        small: &Small,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let media_type = match want.kind {
            Kind::Blob => small.media_type(),
            Kind::Manifest => match small.media_type() {
                Some(media_type) => Some(media_type),
                None => return self.miss(want.kind, request, connection).await,
            },
        };
        let size = u64::try_from(small.bytes.len()).unwrap_or(u64::MAX);
        let (span, partial) = match own::part(request, size) {
            Ok(part) => part,
            Err(Unfit::Range(size, _)) => return self.range(want.kind, size, connection).await,
            Err(_) => return self.miss(want.kind, request, connection).await,
        };
        let framing = request.framing();
        let reply = match framing {
            Framing::Length => Reply::object(span, size, partial),
            Framing::OneChunk => Reply::stream(span, size),
        };
        let mut bytes = own::describe(reply, &want.digest, media_type.as_deref()).end(connection);
        self.count(Some(want.kind), MirrorOutcome::Peer);
        if request.method == Method::Get {
            self.mirror.counts.peer_bytes.increment(span.len());
            let body = span.of(&small.bytes).unwrap_or_default();
            if small.is_large() {
                // It is not copied to stand behind its head.
                for bytes in [&bytes, body] {
                    if self.say(bytes, Connection::KeepAlive).await == Connection::Close {
                        return Connection::Close;
                    }
                }
                return self.end(framing, connection).await;
            }
            bytes.extend_from_slice(body);
            if framing == Framing::OneChunk {
                bytes.extend_from_slice(LAST_CHUNK);
            }
        }
        if want.kind == Kind::Manifest {
            self.mirror.fetcher.expect_children(want, &small.bytes);
        }
        self.say(&bytes, connection).await
    }

    async fn large(
        &self,
        kind: Kind,
        digest: &Digest,
        transfer: Transfer,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let (span, total, framing) = (transfer.span(), transfer.total(), request.framing());
        let reply = match framing {
            Framing::Length => Reply::object(span, total, request.range.is_some()),
            Framing::OneChunk => Reply::stream(span, total),
        };
        let head = own::describe(reply, digest, None).end(connection);
        if self.say(&head, Connection::KeepAlive).await == Connection::Close {
            self.count(Some(kind), MirrorOutcome::Gone);
            return Connection::Close;
        }
        let counts = &self.mirror.counts;
        let counter = if transfer.is_crowd() {
            &counts.crowd_bytes
        } else {
            &counts.peer_bytes
        };
        let count = |bytes| counter.increment(bytes);
        let delivery = transfer.deliver(self.client.stream, count).await;
        match delivery {
            Delivery::Complete => {
                self.count(Some(kind), MirrorOutcome::Peer);
                self.end(framing, connection).await
            }
            // Ended with FIN, after which containerd requests the rest.
            Delivery::Short => {
                self.count(Some(kind), MirrorOutcome::Short);
                Connection::Close
            }
            Delivery::Gone => {
                self.count(Some(kind), MirrorOutcome::Gone);
                Connection::Close
            }
        }
    }

    /// Ends a reply of which the whole body was sent.
    async fn end(&self, framing: Framing, connection: Connection) -> Connection {
        match framing {
            Framing::Length => connection,
            Framing::OneChunk => self.say(LAST_CHUNK, connection).await,
        }
    }
}

/// The name of the tag that is asked for; `None` where none is.
fn tag_name(object: &ObjectRef) -> Option<TagName> {
    matches!(object.reference, Reference::Tag(_)).then_some(())?;
    named(object)
}

/// The name of what is asked for in its repository, with a tag or a digest; `None` where the registry is not
/// said.
fn named(object: &ObjectRef) -> Option<TagName> {
    Some(TagName {
        registry: object.registry.clone()?,
        repository: object.repository.clone(),
        tag: match &object.reference {
            Reference::Digest(digest) => digest.to_string(),
            Reference::Tag(tag) => tag.clone(),
        },
    })
}

/// The requested object, by its digest.
fn want(object: &ObjectRef, digest: &Digest) -> Want {
    Want {
        digest: digest.clone(),
        kind: object.kind,
        registry: object.registry.clone(),
        repository: object.repository.clone(),
        size: None,
    }
}
