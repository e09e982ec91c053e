//! Replies with what peers have.

use super::{connection::Talk, count::Outcome};
use crate::{
    digest::Digest,
    fetch::{Delivery, Fetched, Small, Transfer, Want},
    http::{Connection, Kind, Method, ObjectRef, Reply, Request},
    listen::Service,
    own::{self, Unfit},
};

/// What is asked for, by its digest.
pub(super) fn want(object: &ObjectRef, digest: &Digest) -> Want {
    Want {
        digest: digest.clone(),
        kind: object.kind,
        registry: object.registry.clone(),
        repository: object.repository.clone(),
        size: None,
    }
}

impl Talk<'_> {
    /// Asks the peers and replies with what they have.
    pub(super) async fn fetched(
        &self,
        object: &ObjectRef,
        digest: &Digest,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let want = want(object, digest);
        let fetcher = &self.mirror.fetcher;
        match fetcher.fetch(&want, request.method, request.range).await {
            Fetched::Own(own) => self.own(object, own, request, connection).await,
            Fetched::Small(small) => self.small(&want, &small, request, connection).await,
            Fetched::Large(transfer) => {
                self.large(object.kind, digest, *transfer, request, connection)
                    .await
            }
            Fetched::Size(size) => {
                self.count(Some(object.kind), Outcome::Peer);
                let reply = Reply::new(200)
                    .field("Accept-Ranges", "bytes")
                    .field("Content-Length", size);
                let head = own::describe(reply, digest, None).end(connection);
                self.say(&head, connection).await
            }
            Fetched::Unsatisfiable(size) => self.range(object.kind, size, connection).await,
            Fetched::Nowhere => {
                self.mirror.content.missed(digest, request.range);
                self.miss(object.kind, request, connection).await
            }
        }
    }

    async fn small(
        &self,
        want: &Want,
        small: &Small,
        request: &Request,
        connection: Connection,
    ) -> Connection {
        let media_type = match want.kind {
            Kind::Blob => None,
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
        let reply = Reply::object(span, size, partial);
        let mut bytes = own::describe(reply, &want.digest, media_type.as_deref()).end(connection);
        if request.method == Method::Get {
            bytes.extend_from_slice(span.of(&small.bytes).unwrap_or_default());
            self.mirror.counts.peer_bytes.increment(span.len());
        }
        if want.kind == Kind::Manifest {
            self.mirror.fetcher.expect_children(want, &small.bytes);
        }
        self.count(Some(want.kind), Outcome::Peer);
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
        let reply = Reply::object(transfer.span(), transfer.total(), request.range.is_some());
        let head = own::describe(reply, digest, None).end(connection);
        if self.say(&head, Connection::KeepAlive).await == Connection::Close {
            self.count(Some(kind), Outcome::Gone);
            return Connection::Close;
        }
        let count = |bytes| self.mirror.counts.peer_bytes.increment(bytes);
        let delivery = transfer.deliver(self.stream, count).await;
        match delivery {
            Delivery::Complete => {
                self.count(Some(kind), Outcome::Peer);
                connection
            }
            // Ended with FIN, upon which containerd asks for the rest.
            Delivery::Short => {
                self.count(Some(kind), Outcome::Short);
                Connection::Close
            }
            Delivery::Gone => {
                self.count(Some(kind), Outcome::Gone);
                Connection::Close
            }
        }
    }
}
