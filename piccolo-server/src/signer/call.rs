//! The call by which a pod gets a certificate.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    response::Response,
    routing::post,
};
use daemon::{
    clock::Clock,
    issuer::{Call, Issued, PATH, Refusal},
    metric::Metric,
    serve,
    spell::Spell,
    telemetry::chain,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use metrics::counter;
use rcgen::{CertificateSigningRequestParams, PublicKey};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{authority::Keeper, kubernetes::Kubernetes, pod::Pods, rate::Rate, refusal::Refused};
use crate::{app::Host, config::PkiServe};

pub(super) const REQUESTS: Metric = Metric::counter(
    "piccolo_signer_requests_total",
    &[(
        "outcome",
        "`issued`; refused: `request` (none), `token` (not valid, or for another audience), `account` (one that gets \
         none), `pod` (gone, another one, ended), `node` (gone, without an address), `limited` (asks too often), \
         `busy` (too many at once); not found out: `away` (the API of Kubernetes), `late` (not in time), `failed`",
    )],
    "Calls for certificates by what came of them.",
);

/// Bytes of a call, of which a request for a large key has three thousand.
const BODY: usize = 16 << 10;
/// Bytes of a longer one that are thrown away: who is in the middle of it reads the answer only after that.
const DISCARDED: usize = 16 * BODY;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a token.
const TOKEN: usize = 8 << 10;
/// Calls that are looked into at once. Each takes three calls of the API.
const PLACES: usize = 16;
/// How long a call takes altogether, before its caller gives it up.
const DEADLINE: Duration = Duration::from_secs(20);
/// Calls that wait for a place, and for how long.
const WAITING: usize = 512;
const WAIT: Duration = Duration::from_secs(10);

/// Calls that an address may make at once, by those that it may make in a second.
const BURST: u32 = 10;

/// What a call needs.
#[derive(Debug)]
pub(super) struct Signing {
    pods: Pods,
    keeper: Arc<Keeper>,
    clock: Clock,
    lasts: Duration,
    places: Semaphore,
    waiting: AtomicUsize,
    /// Calls of each address: many agents may come from one, and none is to keep the API busy.
    by_address: Rate<IpAddr>,
    /// Certificates of each pod, by its uid.
    by_pod: Rate<String>,
    refusing: Spell,
}

impl Signing {
    pub(super) fn new(
        settings: &PkiServe,
        kubernetes: Kubernetes,
        keeper: Arc<Keeper>,
        host: &Host,
    ) -> Arc<Self> {
        let calls = settings.calls_per_address;
        Arc::new(Self {
            pods: Pods::new(settings, kubernetes),
            keeper,
            clock: host.clock.clone(),
            lasts: settings.lasts,
            places: Semaphore::new(PLACES),
            waiting: AtomicUsize::new(0),
            by_address: Rate::new(BURST * calls, Duration::from_secs(1) / calls),
            by_pod: Rate::new(10, Duration::from_mins(1)),
            refusing: Spell::new("no calls for certificates are refused any more"),
        })
    }

    async fn issue(
        &self,
        caller: IpAddr,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<String, Refused> {
        let now = Instant::now();
        if !self.by_address.admit(serve::host(caller), now) {
            return Err(Refused::Limited(caller.to_string()));
        }
        let token = bearer(headers)?;
        let key = requested(&read(body).await?)?;
        let _place = self.place().await?;
        let authority = self.keeper.current().ok_or(Refused::NoAuthority)?;
        let known = self.pods.find(token).await?;
        if !self.by_pod.admit(known.uid, now) {
            return Err(Refused::Limited(format!("pod {}", known.pod)));
        }
        let certificate = authority.certify(&known.subject, &key, self.lasts, &self.clock)?;
        let identity = &known.subject.identity;
        info!(pod = %known.pod, %identity, %caller, "issued a certificate");
        Ok(certificate)
    }

    async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refused> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waits = Waits::one(&self.waiting).ok_or(Refused::Busy)?;
        match timeout(WAIT, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Refused::Busy),
        }
    }
}

/// One that waits, as long as it does.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn one(waiting: &'a AtomicUsize) -> Option<Self> {
        let before = waiting.fetch_add(1, Relaxed);
        let one = Self(waiting);
        (before < WAITING).then_some(one)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The API of pods.
pub(super) fn router(signing: Arc<Signing>) -> Router {
    Router::new().route(PATH, post(certificate).with_state(signing))
}

async fn certificate(
    State(signing): State<Arc<Signing>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = caller.ip().to_canonical();
    let issued = timeout(DEADLINE, signing.issue(caller, &headers, body)).await;
    match issued.unwrap_or(Err(Refused::Late)) {
        Ok(certificate) => {
            counter!(REQUESTS.name, "outcome" => "issued").increment(1);
            reply(StatusCode::OK, &Issued { certificate })
        }
        Err(error) => {
            let outcome = error.outcome();
            counter!(REQUESTS.name, "outcome" => outcome).increment(1);
            signing.refusing.happened(|times| {
                let error = chain(&error);
                warn!(%caller, outcome, %error, times, "no certificate was issued");
            });
            let refusal = Refusal {
                error: error.to_string(),
                retry_after_seconds: error.retry_after(),
            };
            reply(error.status(), &refusal)
        }
    }
}

fn reply(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let none = || Refused::Token("there is none".to_owned());
    let said = headers.get(header::AUTHORIZATION).ok_or_else(none)?;
    let said = said.to_str().map_err(|_other| none())?;
    let (scheme, token) = said.split_at_checked(7).ok_or_else(none)?;
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let counts = scheme.eq_ignore_ascii_case("bearer ")
        && (1..=TOKEN).contains(&token.len())
        && token.chars().all(is_known);
    counts.then_some(token).ok_or_else(none)
}

async fn read(mut body: Body) -> Result<Vec<u8>, Refused> {
    let reading = async {
        let (mut kept, mut length) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_error| Refused::Request("it broke off"))?;
            let Ok(part) = frame.into_data() else {
                continue;
            };
            length += part.len();
            if length <= BODY {
                kept.extend_from_slice(&part);
            } else if length > DISCARDED {
                break;
            }
        }
        if length > BODY {
            return Err(Refused::Request("it is too long"));
        }
        Ok(kept)
    };
    let read = timeout(PATIENCE, reading).await;
    read.map_err(|_late| Refused::Request("it came too slowly"))?
}

/// The key for which a certificate is requested, of which the caller has the private one.
fn requested(body: &[u8]) -> Result<PublicKey, Refused> {
    let call: Call =
        serde_json::from_slice(body).map_err(|_other| Refused::Request("it is not understood"))?;
    // It has to be signed by its key.
    let request = CertificateSigningRequestParams::from_pem(&call.request).map_err(|_other| {
        Refused::Request("it is no PKCS #10 in PEM that its own key has signed")
    })?;
    let key = request.public_key;
    let known = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if known.contains(&key.algorithm()) {
        Ok(key)
    } else {
        Err(Refused::Request(
            "its key is of another kind than P-256, P-384 or Ed25519",
        ))
    }
}
