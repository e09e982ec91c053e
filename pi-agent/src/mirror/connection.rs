//! One connection of containerd, from its first request to its last.

use daemon::scope::Scope;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::{Inner, count::Outcome, fetched::want};
use crate::{
    content::Object,
    datapath::{Pace, Receiver},
    digest::Digest,
    http::{Answer, Connection, Kind, ObjectRef, Reference, Reply, Request},
    instance,
    listen::{self, Accepted, Limits, Refused, Service},
    own::{self, Unfit},
    reference::TagName,
};

pub(super) async fn run(mirror: &Inner, accepted: Accepted, scope: &Scope) {
    let Accepted { stream, place, .. } = accepted;
    let talk = Talk {
        mirror,
        stream: &stream,
    };
    listen::serve(&talk, scope).await;
    drop(stream);
    drop(place);
}

/// A connection with containerd.
pub(super) struct Talk<'a> {
    pub(super) mirror: &'a Inner,
    pub(super) stream: &'a TcpStream,
}

impl Service for Talk<'_> {
    fn stream(&self) -> &TcpStream {
        self.stream
    }

    fn limits(&self) -> Limits {
        let settings = &self.mirror.settings;
        Limits {
            idle: settings.idle,
            head: settings.head,
            patience: settings.patience,
        }
    }

    fn refused(&self, why: Refused) {
        let outcome = match why {
            Refused::Invalid => Outcome::Invalid,
            Refused::Path => Outcome::Miss,
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

    async fn object(
        &self,
        object: &ObjectRef,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let Some(digest) = self.resolve(object).await else {
            return self.miss(object.kind, request, connection).await;
        };
        match self.mirror.content.open(&digest).await {
            Ok(Some(own)) => self.own(object, own, request, connection).await,
            Ok(None) => self.fetch(object, &digest, request, connection).await,
            Err(error) => {
                warn!(error = %daemon::telemetry::chain(&error), "own content is not readable");
                self.fetch(object, &digest, request, connection).await
            }
        }
    }
}

impl Talk<'_> {
    /// The digest of what is asked for. A tag has one where this node resolves tags.
    async fn resolve(&self, object: &ObjectRef) -> Option<Digest> {
        match &object.reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => {
                let tags = self.mirror.settings.tags.as_ref()?;
                let name = TagName {
                    registry: object.registry.clone()?,
                    repository: object.repository.clone(),
                    tag: tag.clone(),
                };
                let content = &self.mirror.content;
                let own = content.resolve(&name.registry, &name.repository, tag);
                tags.resolve(&name, own).await
            }
        }
    }

    /// Replies with an object of this node.
    pub(super) async fn own(
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
        let prepared = match own::prepare(own, object.kind, request, connection).await {
            Ok(prepared) => prepared,
            Err(Unfit::Range(size, _)) => return self.range(object.kind, size, connection).await,
            Err(error) => {
                debug!(%digest, error = %daemon::telemetry::chain(&error), "not served");
                return self.miss(object.kind, request, connection).await;
            }
        };
        let count = |bytes| self.mirror.counts.own_bytes.increment(bytes);
        let receiver = Receiver::patient(self.mirror.settings.patience);
        let sent = prepared
            .send(self.stream, &Pace::free(), receiver, count)
            .await;
        match sent.result {
            Ok(()) => {
                self.count(Some(object.kind), Outcome::Own);
                connection
            }
            Err(error) => {
                debug!(%digest, error = %daemon::telemetry::chain(&error), "reply ended early");
                self.count(Some(object.kind), Outcome::Gone);
                Connection::Close
            }
        }
    }

    /// Leaves a request to containerd's next host.
    pub(super) async fn miss(
        &self,
        kind: Kind,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        self.count(Some(kind), Outcome::Miss);
        let (code, text) = match kind {
            Kind::Manifest => ("MANIFEST_UNKNOWN", "no node is known to have the manifest"),
            Kind::Blob => ("BLOB_UNKNOWN", "no node is known to have the blob"),
        };
        let bytes = Reply::new(404).error(code, text, request.method.answer(), connection);
        self.say(&bytes, connection).await
    }

    /// Says that an object has no such part.
    pub(super) async fn range(&self, kind: Kind, size: u64, connection: Connection) -> Connection {
        self.count(Some(kind), Outcome::Range);
        let reply = Reply::new(416)
            .field("Content-Range", format_args!("bytes */{size}"))
            .field("Content-Length", 0);
        self.say(&reply.end(connection), connection).await
    }

    pub(super) fn count(&self, kind: Option<Kind>, outcome: Outcome) {
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
}
