//! One request to one peer, up to the end of its reply's head.

pub(crate) mod accept;
pub(crate) mod error;
pub(crate) mod link;
pub(crate) mod pool;

use std::fmt::Write as _;

use piccolo_api::Holder;
use tokio::time::{Instant, timeout};

use self::{
    accept::{Ask, Body, accept},
    error::PeerError,
    link::Link,
};
use super::{Inner, Want};
use crate::{
    datapath::{Floor, Patience, read_exact, write_all},
    http::{AGENT_FIELD, MIRRORED_FIELD, Method, Response, encode_query},
};

/// Longest body of an error that is read for the sake of the connection.
const MAX_ERROR_BODY: u64 = 4 << 10;

/// A peer that is about to send a body.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) link: Link,
    /// The body that it sends.
    pub(crate) body: Body,
    /// Offset of the next byte that comes.
    pub(crate) next: u64,
    /// Whether the connection outlives the body.
    pub(crate) keep_alive: bool,
}

/// Asks `holder` for a part of an object and judges its head.
pub(crate) async fn exchange(
    inner: &Inner,
    want: &Want,
    ask: Ask,
    method: Method,
    holder: Holder,
) -> Result<Upstream, PeerError> {
    let request = write_request(inner, want, ask, method, holder);
    if let Some(link) = inner.pool.take(holder) {
        match converse(inner, want, ask, method, link, &request).await {
            // The peer closed it at the moment it was taken. A new one tells what is the matter.
            Err(error) if error.is_stale() => {}
            result => return result,
        }
    }
    let link = Link::dial(holder, &inner.parts.sockets, &inner.settings).await?;
    converse(inner, want, ask, method, link, &request).await
}

/// Asks on a connection that is there.
pub(crate) async fn converse(
    inner: &Inner,
    want: &Want,
    ask: Ask,
    method: Method,
    mut link: Link,
    request: &[u8],
) -> Result<Upstream, PeerError> {
    let patience = Patience(inner.settings.first_byte);
    write_all(&link.stream, request, patience)
        .await
        .map_err(PeerError::Request)?;
    link.meter().sent_head(request.len());
    let response = read_head(inner, &mut link).await?;
    match accept(&response, want, ask) {
        Ok(body) => Ok(Upstream {
            next: body.span.start(),
            body,
            keep_alive: response.keep_alive,
            link,
        }),
        Err(error) => {
            if method == Method::Get && response.keep_alive {
                reuse(inner, link, response.length).await;
            }
            Err(error)
        }
    }
}

async fn read_head(inner: &Inner, link: &mut Link) -> Result<Response, PeerError> {
    let head = link.inbox.head(&link.stream, Response::parse);
    match timeout(inner.settings.first_byte, head).await {
        Ok(Ok((response, length))) => {
            link.meter().received_head(length);
            Ok(response)
        }
        Ok(Err(error)) => {
            link.meter().received_head(link.inbox.len());
            Err(PeerError::Head(error))
        }
        Err(_) => Err(PeerError::HeadDeadline),
    }
}

/// Reads the short body of an error, after which the connection can be used again.
async fn reuse(inner: &Inner, mut link: Link, length: Option<u64>) {
    let Some(length) = length.filter(|l| *l <= MAX_ERROR_BODY) else {
        return;
    };
    let here = link.inbox.take(length).len();
    let rest = usize::try_from(length).unwrap_or(0).saturating_sub(here);
    let mut room = vec![0; rest];
    let mut floor = Floor::new(inner.settings.floor, Instant::now());
    if read_exact(&link.stream, &mut room, &mut floor, |_| {})
        .await
        .is_ok()
    {
        link.meter().received_head(here + rest);
        inner.pool.put(link);
    }
}

pub(crate) fn write_request(
    inner: &Inner,
    want: &Want,
    ask: Ask,
    method: Method,
    holder: Holder,
) -> Vec<u8> {
    let method = match method {
        Method::Head => "HEAD",
        Method::Get | Method::Other => "GET",
    };
    let (repository, segment, digest) = (&want.repository, want.kind.segment(), &want.digest);
    let mut head = format!("{method} /v2/{repository}/{segment}/{digest}");
    // Writing to a String cannot fail, here and below.
    if let Some(registry) = &want.registry {
        let _ = write!(head, "?ns={}", encode_query(registry));
    }
    let _ = write!(
        head,
        " HTTP/1.1\r\nHost: {holder}\r\n{MIRRORED_FIELD}: true\r\nUser-Agent: pi-agent/{}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(own) = inner.settings.own {
        let _ = write!(head, "{AGENT_FIELD}: {own}\r\n");
    }
    match (ask.start, ask.end) {
        (0, None) => {}
        (start, None) => {
            let _ = write!(head, "Range: bytes={start}-\r\n");
        }
        (start, Some(end)) => {
            let _ = write!(head, "Range: bytes={start}-{}\r\n", end.saturating_sub(1));
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}
