//! Asking for a tag's digest with a HEAD.

use std::{error::Error, io, path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client, Error as ClientError,
        connect::{Connect, HttpConnector, dns::GaiResolver},
    },
    rt::{TokioExecutor, TokioTimer},
};
use piccolo_api::Holder;
use serde::Deserialize;
use tracing::debug;

use super::{
    challenge::Challenge,
    outside::{Outside, is_outside},
    trust,
};
use crate::{
    digest::Digest,
    hosts::after::NextHost,
    http::{MIRRORED_FIELD, encode_query},
    reference::TagName,
    registry::address,
};

/// Longest wait for a registry, a token included: containerd waits meanwhile.
const REGISTRY: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const DIAL: Duration = Duration::from_secs(1);
/// Longest reply with a token.
const MAX_TOKEN: usize = 64 << 10;
/// Longest wait for a peer.
const PEER: Duration = Duration::from_millis(300);
/// What a manifest may be, as containerd says it too.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a tag stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) digest: Digest,
    /// The manifest's length in bytes and media type, where they were said.
    pub(super) size: Option<u64>,
    pub(super) media_type: Option<String>,
}

/// The result of asking.
#[derive(Debug)]
pub(super) enum Answer {
    /// The tag stands for this.
    Digest(Target),
    /// A reply that does not help; containerd may get a better one with its credentials.
    Refused(Refusal),
    /// A reply that the host itself is at fault.
    Failing,
    /// None.
    Silent,
}

/// Why a reply does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The registry wants credentials.
    Credentials,
    /// It gives a manifest, and does not say which it is.
    Unnamed,
    /// It has none.
    Missing,
    /// Anything else: too many requests, or the host is not understood or not trusted.
    Other,
}

type Caller<R> = Client<HttpsConnector<HttpConnector<R>>, Empty<Bytes>>;

pub(super) struct Asker {
    caller: Caller<GaiResolver>,
    /// For tokens: a registry names any host to get them from, and must not have this node call itself.
    outward: Caller<Outside>,
}

/// Whether a token is fetched where a reply says that there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Challenges {
    Follow,
    Refuse,
}

impl Asker {
    /// `authorities` is a file of those that are trusted besides this machine's own.
    pub(super) fn new(authorities: Option<&Path>) -> Self {
        Self {
            caller: caller(HttpConnector::new(), authorities),
            outward: caller(
                HttpConnector::new_with_resolver(Outside::default()),
                authorities,
            ),
        }
    }

    /// Asks a registry, or a mirror of it.
    pub(super) async fn host(&self, host: &NextHost, name: &TagName) -> Answer {
        let mut uri = format!("{}/{}/manifests/{}", host.base, name.repository, name.tag);
        if host.stands_in {
            uri = uri + "?ns=" + &encode_query(&name.registry);
        }
        self.ask(&uri, REGISTRY, Challenges::Follow).await
    }

    pub(super) async fn peer(&self, peer: Holder, name: &TagName) -> Answer {
        let uri = format!(
            "http://{peer}/v2/{}/manifests/{}?ns={}",
            name.repository,
            name.tag,
            encode_query(&name.registry)
        );
        self.ask(&uri, PEER, Challenges::Refuse).await
    }

    async fn ask(&self, uri: &str, deadline: Duration, challenges: Challenges) -> Answer {
        match tokio::time::timeout(deadline, self.exchange(uri, challenges)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                debug!(uri, error = %daemon::telemetry::chain(&error), "no answer");
                if speaks(&error) {
                    Answer::Refused(Refusal::Other)
                } else {
                    Answer::Silent
                }
            }
            Err(_) => Answer::Silent,
        }
    }

    async fn exchange(&self, uri: &str, challenges: Challenges) -> Result<Answer, ClientError> {
        let Some(request) = head(uri, None) else {
            return Ok(Answer::Refused(Refusal::Other));
        };
        let reply = self.caller.request(request).await?;
        if reply.status() != StatusCode::UNAUTHORIZED {
            return Ok(read(&reply));
        }
        if challenges == Challenges::Refuse {
            return Ok(Answer::Refused(Refusal::Credentials));
        }
        // This node has no credentials, but public repositories want none.
        let wanted = reply.headers().get(header::WWW_AUTHENTICATE);
        let wanted = wanted.and_then(|value| Challenge::parse(value.to_str().ok()?));
        let Some(challenge) = wanted else {
            return Ok(Answer::Refused(Refusal::Credentials));
        };
        // The registry has answered; that it gets no token here says nothing of it.
        let token = match self.token(&challenge, uri).await {
            Ok(Ok(token)) => token,
            Ok(Err(refusal)) => return Ok(Answer::Refused(refusal)),
            Err(_) => return Ok(Answer::Refused(Refusal::Other)),
        };
        let Some(request) = head(uri, Some(&token)) else {
            return Ok(Answer::Refused(Refusal::Other));
        };
        Ok(read(&self.caller.request(request).await?))
    }

    /// An anonymous token for what was asked for at `uri`, if there is one. Only a registry that is on
    /// this host may say that its tokens are, too.
    async fn token(
        &self,
        challenge: &Challenge,
        uri: &str,
    ) -> Result<Result<String, Refusal>, ClientError> {
        let Ok(request) = Request::get(challenge.url()).body(Empty::new()) else {
            return Ok(Err(Refusal::Other));
        };
        let registry = uri.parse::<Uri>().ok();
        let registry = registry.as_ref().and_then(Uri::host);
        let reply = match request.uri().host() {
            host if host == registry => self.caller.request(request).await?,
            // A literal address is dialled without a resolver.
            Some(host) if address(host).is_none_or(is_outside) => {
                self.outward.request(request).await?
            }
            host => {
                debug!(
                    uri,
                    ?host,
                    "tokens are not fetched from this node or its link"
                );
                return Ok(Err(Refusal::Other));
            }
        };
        if !reply.status().is_success() {
            return Ok(Err(refusal(reply.status(), None)));
        }
        let body = Limited::new(reply.into_body(), MAX_TOKEN).collect().await;
        let token = body.ok().and_then(|body| {
            let token: Token = serde_json::from_slice(&body.to_bytes()).ok()?;
            token.token.or(token.access_token)
        });
        Ok(token.ok_or(Refusal::Other))
    }
}

fn caller<R>(mut connector: HttpConnector<R>, authorities: Option<&Path>) -> Caller<R>
where
    HttpConnector<R>: Connect + Clone,
    HttpsConnector<HttpConnector<R>>: Connect + Clone,
{
    connector.set_connect_timeout(Some(DIAL));
    // The TLS connector around it knows the other scheme.
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust::config(authorities))
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(2)
        .build(connector)
}

/// The reply that gives a token, under one of two names.
#[derive(Debug, Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn head(uri: &str, token: Option<&str>) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::head(uri)
        .header(header::ACCEPT, ACCEPT)
        .header(MIRRORED_FIELD, "true");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Empty::new()).ok()
}

fn read(reply: &Response<Incoming>) -> Answer {
    let status = reply.status();
    if status.is_server_error() {
        return Answer::Failing;
    }
    let field = |name: &str| reply.headers().get(name)?.to_str().ok();
    let digest = field("Docker-Content-Digest").and_then(|digest| digest.parse().ok());
    match digest {
        Some(digest) if status.is_success() => Answer::Digest(Target {
            digest,
            size: field("Content-Length").and_then(|size| size.parse().ok()),
            media_type: field("Content-Type").map(str::to_owned),
        }),
        _ => Answer::Refused(refusal(status, field("Content-Type"))),
    }
}

/// What a reply says that names no manifest. A page that is shown to everybody, such as that of a login, is no
/// manifest.
fn refusal(status: StatusCode, media_type: Option<&str>) -> Refusal {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Credentials,
        StatusCode::NOT_FOUND | StatusCode::GONE => Refusal::Missing,
        _ if status.is_success() && media_type.is_some_and(is_manifest) => Refusal::Unnamed,
        _ => Refusal::Other,
    }
}

/// Whether a media type is that of a manifest, as they are asked for.
pub(super) fn is_manifest(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let mut asked = ACCEPT.split(", ");
    asked.any(|known| known.eq_ignore_ascii_case(media_type))
}

/// Whether a peer answered that is not understood or not trusted: a certificate of an unknown
/// authority, or no TLS at all.
fn speaks(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        cause = error.source();
    }
    false
}
