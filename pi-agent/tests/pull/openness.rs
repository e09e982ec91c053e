//! `--private auto`: whose manifests come from peers is what the registry gives to anybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use daemon::scope::Scope;
use pi_agent::{
    hosts::after::HostFiles,
    jitter::Jitter,
    policy::{Policy, Verdict, Verdicts},
    tags::{Openness, OpennessSettings},
};
use tokio::net::TcpListener;

use crate::{
    bed::{Bed, blob_path, digest, manifest_path, object, settings},
    client::request,
    counted::Counted,
    crowd::{Node, permit},
    fake::{Fake, Fault},
};

const IMAGE: &[u8] = br#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
/// The registry is away.
const AWAY: u16 = 0;
/// It gives a manifest to those that have fetched a token, which anybody gets.
const TOKENS: u16 = 1;
/// It says which manifest it gives, and not of which kind that is.
const NAMED: u16 = 2;
/// It gives another one.
const OTHER: u16 = 3;
/// It shows everybody a page to log in at.
const PAGE: u16 = 4;
/// It says nothing of what it gives.
const BARE: u16 = 5;

const DIGEST: &str = "Docker-Content-Digest";
const OF_A_MANIFEST: (header::HeaderName, &str) = (
    header::CONTENT_TYPE,
    "application/vnd.oci.image.index.v1+json; charset=utf-8",
);

/// A registry that says the same of all manifests.
#[derive(Debug, Clone, Default)]
struct Says {
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Says {
    fn new(status: u16) -> Self {
        let says = Self::default();
        says.now(status);
        says
    }

    fn now(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's runtime ends with the test"
    )]
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let token = async || r#"{"token":"t0"}"#;
        let router = Router::new()
            .route("/token", get(token))
            .fallback(answer)
            .with_state((self.clone(), url.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }
}

async fn answer(
    State((says, url)): State<(Says, String)>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    assert_eq!(request.method(), "HEAD");
    assert!(request.uri().path().starts_with("/v2/lib/a/manifests/"));
    let is_first = !headers.contains_key(header::AUTHORIZATION);
    if is_first {
        says.asked.fetch_add(1, Ordering::SeqCst);
    }
    // So that all that come at once meet.
    tokio::time::sleep(Duration::from_millis(20)).await;
    match says.status.load(Ordering::SeqCst) {
        AWAY => StatusCode::BAD_GATEWAY.into_response(),
        TOKENS if is_first => {
            let challenge = format!("Bearer realm=\"{url}/token\"");
            (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, challenge)],
            )
                .into_response()
        }
        NAMED => [(DIGEST, digest(IMAGE).to_string())].into_response(),
        OTHER => ([OF_A_MANIFEST], [(DIGEST, digest(b"other").to_string())]).into_response(),
        PAGE => [(header::CONTENT_TYPE, "text/html")].into_response(),
        BARE => StatusCode::OK.into_response(),
        TOKENS | 200 => [OF_A_MANIFEST].into_response(),
        status => StatusCode::from_u16(status).unwrap().into_response(),
    }
}

/// What asks the registry at `url`, and the policy that follows from its answers.
fn asking(url: &str, ttl: Duration) -> (Policy, Openness, Verdicts) {
    let verdicts = Verdicts::new(ttl);
    let files = HostFiles {
        hosts_dir: "/nowhere".into(),
        containerd_config: "/nowhere".into(),
        release: None,
        mirror_url: "http://127.0.0.1:288".to_owned(),
    };
    let openness = Openness::new(OpennessSettings {
        files,
        registries: vec![format!("registry.test:5000={url}").parse().unwrap()],
        authorities: None,
        verdicts: verdicts.clone(),
    });
    let policy = Policy::default().with_verdicts(verdicts.clone());
    (policy, openness, verdicts)
}

async fn bed(url: &str, ttl: Duration, peer: &Fake) -> Bed {
    let (policy, openness, _) = asking(url, ttl);
    Bed::asking(vec![peer.peer()], policy, openness).await
}

const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn what_the_registry_gives_to_anybody_comes_from_peers_and_nothing_else() {
    let peer = Fake::start(Fault::None, IMAGE).await;
    for (says, wanted) in [
        (200, 200),
        (TOKENS, 200),
        (NAMED, 200),
        // Not what it was asked for.
        (OTHER, 404),
        (PAGE, 404),
        (BARE, 404),
        (401, 404),
        (403, 404),
        // Nothing that tells, and never anything before.
        (404, 404),
        (429, 404),
        (AWAY, 404),
    ] {
        let registry = Says::new(says);
        let bed = bed(&registry.start().await, LONG, &peer).await;
        for _ in 0..2 {
            let reply = bed.get(&manifest_path(IMAGE), "").await;
            assert_eq!(reply.status, wanted, "{says}");
        }
        assert_eq!(registry.asked(), 1, "{says}: its word stands for a while");
    }
    // Nobody listens.
    let bed = bed("http://127.0.0.1:1", LONG, &peer).await;
    assert_eq!(bed.get(&manifest_path(IMAGE), "").await.status, 404);
}

/// Asks until it is as wanted.
async fn until(bed: &Bed, wanted: u16) {
    let until = async {
        while bed.get(&manifest_path(IMAGE), "").await.status != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(30), until).await;
    heard.unwrap_or_else(|_| panic!("it does not become {wanted}"));
}

#[tokio::test]
async fn the_last_word_holds_for_a_while_when_the_registry_says_nothing() {
    let peer = Fake::start(Fault::None, IMAGE).await;
    for silence in [AWAY, 429] {
        let registry = Says::new(200);
        let ttl = Duration::from_secs(2);
        let bed = bed(&registry.start().await, ttl, &peer).await;
        let begin = Instant::now();
        assert_eq!(bed.get(&manifest_path(IMAGE), "").await.status, 200);
        registry.now(silence);
        tokio::time::sleep(ttl + ttl / 4).await;
        assert_eq!(bed.get(&manifest_path(IMAGE), "").await.status, 200);
        assert!(registry.asked() == 2 && begin.elapsed() < ttl * 2);
        // It may have been made private meanwhile.
        until(&bed, 404).await;
        assert!(begin.elapsed() >= ttl * 2, "{:?}", begin.elapsed());
        if silence == AWAY {
            continue;
        }
        registry.now(200);
        until(&bed, 200).await;
        registry.now(401);
        until(&bed, 404).await;
        registry.now(AWAY);
        tokio::time::sleep(ttl * 2).await;
        assert_eq!(bed.get(&manifest_path(IMAGE), "").await.status, 404);
    }
}

/// So answer registries that do not say of what they have to whom it is not given.
#[tokio::test]
async fn what_the_registry_says_it_has_not_is_public_no_more() {
    let peer = Fake::start(Fault::None, IMAGE).await;
    let registry = Says::new(200);
    let ttl = Duration::from_secs(10);
    let bed = bed(&registry.start().await, ttl, &peer).await;
    assert_eq!(bed.get(&manifest_path(IMAGE), "").await.status, 200);
    registry.now(404);
    let begin = Instant::now();
    until(&bed, 404).await;
    assert!(begin.elapsed() < ttl + ttl / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn who_come_at_once_ask_once_and_layers_need_nobodys_word() {
    let counted = Counted::begin();
    let peer = Fake::start(Fault::None, IMAGE).await;
    let registry = Says::new(200);
    let url = registry.start().await;
    let mirror = bed(&url, LONG, &peer).await;
    let path = manifest_path(IMAGE);
    let all = (0..20).map(|_| mirror.get(&path, ""));
    for reply in futures_util::future::join_all(all).await {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(registry.asked(), 1);
    let asked = "piccolo_agent_repositories_asked_total{outcome=\"public\"}";
    assert_eq!(counted.of(asked), 1);

    let layer = object(5 << 20, 151);
    let peer = Fake::start(Fault::None, &layer).await;
    let mirror = bed(&url, LONG, &peer).await;
    assert!(mirror.get(&blob_path(&layer), "").await.body == layer);
    assert_eq!(registry.asked(), 1);
}

/// A node gives what it knows to be public, by its own question.
#[tokio::test]
async fn peers_get_layers_under_any_name_once_the_repository_is_known_to_be_public() {
    let (policy, _, verdicts) = asking("http://127.0.0.1:1", LONG);
    let layer = object(3 << 20, 152);
    let node = Node::with_policy(vec![permit()], settings(), policy).await;
    let ingest = node.begin(&layer);
    node.ask(&layer, "").await;
    ingest.write(&layer);
    let path = blob_path(&layer);
    let other = path.replace("/v2/lib/a/", "/v2/other/a/");
    let status = async |path: &str| request(node.peer, "GET", path, "").await.status;
    assert_eq!((status(&path).await, status(&other).await), (200, 404));
    verdicts.learn("registry.test:5000", "lib/a", Some(Verdict::Public));
    assert_eq!((status(&path).await, status(&other).await), (200, 200));
}

#[tokio::test]
async fn what_peers_want_the_registry_is_asked_for_once_and_they_get_it_then() {
    let registry = Says::new(200);
    let (policy, openness, verdicts) = asking(&registry.start().await, LONG);
    let node = Node::with_policy(Vec::new(), settings(), policy).await;
    let ingest = node.begin(IMAGE);
    ingest.write(IMAGE);
    ingest.commit();
    let (scope, _deaths) = Scope::new();
    scope.service("openness", openness.watch(Jitter::seeded(3), scope.clone()));
    let path = manifest_path(IMAGE);
    let status = async || request(node.peer, "GET", &path, "").await.status;
    for _ in 0..20 {
        assert_eq!(status().await, 404, "it may be private");
    }
    let given = async {
        while status().await != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let given = tokio::time::timeout(Duration::from_secs(15), given).await;
    given.expect("the registry is not asked");
    assert_eq!(registry.asked(), 1);
    assert!(verdicts.is_public("registry.test:5000", "lib/a"));
}
