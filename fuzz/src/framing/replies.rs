//! Replies, to the fetcher: what containerd is given is the body that hyper reads of the same bytes, or nothing.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use daemon::scope::Scope;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty};
use hyper::{HeaderMap, Request, client::conn::http1, header, header::HeaderValue};
use hyper_util::rt::TokioIo;
use pi_agent::{
    content::{
        Content,
        manifest::Descriptor,
        verdict::{Verdicts, Watch},
    },
    digest::Digest,
    fetch::{FetchSettings, Fetcher, Finder, Parts, Verify},
    mirror::{Mirror, MirrorSettings},
    reach::Reach,
    sockets::{PeerBytes, PeerSockets, Unwatched},
};
use piccolo_api::{FailureKind, Holder, Peer, PeerState};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use crate::model::head::Head;
use crate::stand::{caller, exchange, parts, runtime, send};

/// Nothing waits as long.
const DEADLINE: Duration = Duration::from_secs(10);

/// A reply as hyper reads it.
#[derive(Debug)]
struct Seen {
    fields: HeaderMap,
    /// All of it, if it came to its end.
    body: Option<Vec<u8>>,
}

pub(super) fn check(cuts: &[u8], reply: &[u8]) {
    let runtime = runtime();
    let seen = runtime.block_on(by_hyper(reply));
    let body = seen.as_ref().and_then(|seen| seen.body.clone());
    let digest = format!(
        "sha256:{}",
        hex::encode(Sha256::digest(body.clone().unwrap_or_default()))
    );
    let got = runtime.block_on(pulled(&digest, &parts(reply, cuts)));
    let text = String::from_utf8_lossy(reply);
    match (got, body) {
        (Some(got), Some(body)) => assert_eq!(got, body, "{text:?}"),
        (Some(got), None) => panic!("{got:?} of {text:?}, which hyper does not take"),
        (None, Some(_)) => {
            let seen = seen.expect("it has a body");
            assert!(!is_plain(&seen, reply), "{seen:?} is not taken: {text:?}");
        }
        (None, None) => {}
    }
}

/// Whether an agent could have sent the reply: it begins with the head of one that has the whole object, and
/// its length.
fn is_plain(seen: &Seen, reply: &[u8]) -> bool {
    let body = seen.body.as_deref().unwrap_or_default();
    let length = seen
        .fields
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .map(HeaderValue::as_bytes);
    let length: Vec<_> = length.collect();
    let has_length =
        matches!(length.as_slice(), [one] if *one == body.len().to_string().as_bytes());
    let others = [
        header::TRANSFER_ENCODING.as_str(),
        header::CONTENT_ENCODING.as_str(),
        header::CONTENT_RANGE.as_str(),
        "docker-content-digest",
    ];
    let has_other = others.iter().any(|name| seen.fields.contains_key(*name));
    let says_more = seen
        .fields
        .keys()
        .any(|name| name.as_str().starts_with("piccolo-"));
    let is_first = Head::of(reply).first.split(|byte| *byte == b' ').nth(1) == Some(b"200");
    // There are no empty objects.
    is_first && has_length && !has_other && !says_more && !body.is_empty()
}

/// The reply to a GET.
async fn by_hyper(reply: &[u8]) -> Option<Seen> {
    let (mut server, client) = tokio::io::duplex(reply.len() + (16 << 10));
    let mut builder = http1::Builder::new();
    let (mut sender, connection) = builder
        .max_headers(64)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(client))
        .await
        .ok()?;
    let request = Request::get("/x").body(Empty::new()).expect("a request");
    let exchange = async {
        let mut head = [0; 512];
        let answer = async {
            let _ = server.read(&mut head).await;
            let _ = server.write_all(reply).await;
            let _ = server.shutdown().await;
        };
        let asked = async {
            let response = sender.send_request(request).await.ok()?;
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .ok()
                .map(|body| body.to_bytes().to_vec());
            Some(Seen {
                fields: head.headers,
                body,
            })
        };
        let ((), seen) = tokio::join!(answer, asked);
        seen
    };
    let both = async {
        tokio::select! {
            biased;
            seen = exchange => seen,
            // It ends with the exchange, which is looked at first.
            () = async { let _ = connection.await; std::future::pending().await } => None,
        }
    };
    timeout(DEADLINE, both)
        .await
        .expect("hyper comes to an end")
}

/// What a mirror gives containerd of an object that its only peer has, which replies so.
async fn pulled(digest: &str, reply: &[&[u8]]) -> Option<Vec<u8>> {
    let peer = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mirror = listener.local_addr().expect("a port");
    let store = tempfile::tempdir().expect("a directory");
    let (scope, _deaths) = Scope::new();
    let known = Known(Holder::new(peer.local_addr().expect("a port")).expect("a holder"));
    let parts = Parts {
        content: Content::new(store.path().to_owned()),
        finder: Box::new(known),
        verdicts: Box::new(Nobody),
        sockets: PeerSockets::new(PeerBytes::default(), Arc::new(Unwatched)),
        scope: scope.clone(),
    };
    let here = "127.0.0.0/8".parse().expect("a network");
    let settings = FetchSettings {
        verify: Verify::Small,
        // Others may be named, and are not asked.
        reach: Reach::new(Ipv4Addr::LOCALHOST.into(), vec![here]),
        ..FetchSettings::default()
    };
    let fetcher = Fetcher::new(parts, &settings);
    let content = Content::new(store.path().to_owned());
    let mirror_server = Mirror::new(content, fetcher, MirrorSettings::default());
    scope.service("mirror", mirror_server.serve(listener, scope.clone()));
    let serving = async {
        let mut is_first = true;
        loop {
            let Ok((mut stream, _)) = peer.accept().await else {
                continue;
            };
            if std::mem::take(&mut is_first) {
                let mut head = [0; 2048];
                let _ = stream.read(&mut head).await;
                send(&mut stream, reply).await;
            }
            let _ = stream.shutdown().await;
        }
    };
    let path =
        format!("GET /v2/lib/a/blobs/{digest}?ns=r.test HTTP/1.1\r\nConnection: close\r\n\r\n");
    let request = [path.as_bytes()];
    let told = tokio::select! {
        told = exchange(caller(), mirror, &request) => told,
        () = serving => Vec::new(),
    };
    let end = told
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a reply")
        + 4;
    told.starts_with(b"HTTP/1.1 200")
        .then(|| told[end..].to_vec())
}

/// Discovery that knows one peer.
#[derive(Debug)]
struct Known(Holder);

impl Finder for Known {
    fn find<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Vec<Peer>> {
        let peer = Peer {
            addr: self.0,
            rack: "r".to_owned(),
            state: PeerState::Complete,
            score: 1.0,
        };
        Box::pin(std::future::ready(vec![peer]))
    }

    fn prefetch(&self, _: &[Descriptor]) {}

    fn failed(&self, _: Holder, _: FailureKind) {}
}

/// Nobody watches containerd.
#[derive(Debug)]
struct Nobody;

impl Verdicts for Nobody {
    fn watch<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Option<Box<dyn Watch>>> {
        Box::pin(std::future::ready(None))
    }
}
