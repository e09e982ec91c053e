//! `piccolo-server pki serve`: to whom it issues what, and how programs live by it.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use daemon::{
    client::JsonClient,
    clock::Clock,
    https::HttpsClient,
    issuer::{self, Issuer, PATH},
    readiness::Readiness,
    scope::Scope,
    tls::{Files, Leaf, Mode, Peer, Role, Tls},
};
use http::{Request, header};
use piccolo_api::path;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{
    kubernetes::{Kubernetes, NAMESPACE},
    process::{Process, program},
    server::{Server, eventually},
};

/// As long as programs wait for a certificate.
const DEADLINE: Duration = Duration::from_secs(30);
const TRUSTED: &str = "trusted.crt";

/// A signer for the pods of a cluster.
struct Signer(Process);

impl Signer {
    /// Waits until it is ready.
    async fn start(kubernetes: &Kubernetes, more: &[&str]) -> Self {
        let signer = Self::begin(kubernetes, "signer", more);
        eventually("ready", async || signer.ready().await.0).await;
        kubernetes.trusted(TRUSTED);
        signer
    }

    fn begin(kubernetes: &Kubernetes, name: &str, more: &[&str]) -> Self {
        let mut flags = kubernetes.flags();
        flags.extend([
            format!("--state-dir={}", kubernetes.file(name).display()),
            format!("--config-map={NAMESPACE}/public"),
            format!("--agents=g={NAMESPACE}/agent"),
            format!("--servers={NAMESPACE}/server"),
            "--address=127.0.0.1".to_owned(),
            "--server-host=server.test".to_owned(),
        ]);
        if !more.iter().any(|flag| flag.starts_with("--directory")) {
            flags.push(format!("--secret={NAMESPACE}/authority"));
        }
        let flags: Vec<_> = flags
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        Self(Process::start_by(program(&["pki", "serve"]), &flags))
    }

    fn url(&self) -> String {
        format!("https://{}", self.0.api)
    }

    /// Whether it is ready, and what it says of that.
    async fn ready(&self) -> (bool, String) {
        let url = format!("http://{}/readyz?verbose", self.0.admin);
        match self.0.client.get(&url, DEADLINE).await {
            Ok(reply) => {
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                (reply.status == 200, text)
            }
            Err(error) => (false, error.to_string()),
        }
    }

    /// How many calls came to that.
    async fn counted(&self, outcome: &str) -> u64 {
        let url = format!("http://{}/metrics", self.0.admin);
        let reply = self.0.client.get(&url, DEADLINE).await.expect("metrics");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let line = format!("piccolo_signer_requests_total{{outcome=\"{outcome}\"}} ");
        let count = text.lines().find_map(|l| l.strip_prefix(&line));
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    /// Posts that to it; gives the status, and what it says.
    async fn post(
        &self,
        kubernetes: &Kubernetes,
        token: Option<&str>,
        body: String,
    ) -> (u16, Value) {
        let client = HttpsClient::new(kubernetes.file(TRUSTED), DEADLINE, Clock::system());
        let mut call = Request::post(format!("{}{PATH}", self.url()));
        if let Some(token) = token {
            call = call.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let call = call.body(Bytes::from(body)).expect("a request");
        let reply = client.send(call, DEADLINE).await.expect("a reply");
        (reply.status.as_u16(), reply.json().unwrap_or_default())
    }

    async fn ask(&self, kubernetes: &Kubernetes, token: &str) -> (u16, Value) {
        self.post(kubernetes, Some(token), request(&key())).await
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A call that asks for other names than its pod has.
fn request(key: &KeyPair) -> String {
    let mut params = CertificateParams::new(["server.test".to_owned()]).expect("names");
    let uri = "spiffe://x/piccolo/operator/me".try_into().expect("a name");
    params.subject_alt_names.push(SanType::URI(uri));
    let request = params.serialize_request(key).expect("a request");
    json!({"request": request.pem().expect("PEM")}).to_string()
}

fn leaf(certificate: &str) -> Leaf {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    Leaf::of(&[certificate]).expect("it says who it is for")
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses
        .iter()
        .map(|ip| ip.parse().expect("an address"))
        .collect()
}

/// A program's files, which are written when they are issued.
fn files(kubernetes: &Kubernetes, name: &str) -> Files {
    Files {
        certificate: kubernetes.file(&format!("{name}/tls.crt")),
        key: kubernetes.file(&format!("{name}/tls.key")),
        authorities: kubernetes.file(TRUSTED),
        seen: None,
    }
}

/// Has the certificate of an agent issued, and renewed.
struct Agent {
    tls: Tls,
    readiness: Readiness,
    scope: Scope,
}

impl Agent {
    fn start(kubernetes: &Kubernetes, name: &str, url: &str, token: &str) -> Self {
        let at = files(kubernetes, name);
        let file = kubernetes.file(token);
        fs::write(&file, token).expect("writing");
        let tls = Tls::load_or_wait(Mode::Required, Some(at), &[Role::Agent], Clock::system());
        let tls = tls.expect("it can wait");
        let readiness = Readiness::default();
        let issuer = Issuer::new(issuer::Settings {
            url: url.to_owned(),
            token: file,
            tls: tls.clone(),
            readiness: readiness.clone(),
            clock: Clock::system(),
            random: Box::new(|| 0.0),
            fits: Arc::new(|_own| Ok(())),
        });
        let (scope, _deaths) = Scope::new();
        scope.service("issuer", issuer.expect("TLS").run(scope.clone()));
        Self {
            tls,
            readiness,
            scope,
        }
    }

    fn expires(&self) -> Option<Duration> {
        self.tls.own().map(|own| own.expires)
    }

    /// Tells a server what a node has; gives the status, or nothing where there is no connection.
    async fn sync(&self, api: &str, holder: &str) -> Option<u16> {
        let peer = Peer {
            tls: self.tls.clone(),
            role: Some(Role::Server),
            group: None,
        };
        let url = format!("http://{api}{}", path::SYNC);
        let call = json!({"holder": holder, "keys": ["k"], "group": "g"});
        let client = JsonClient::of(peer, DEADLINE, 1);
        Some(
            client
                .post(&url, &call, DEADLINE)
                .await
                .ok()?
                .status
                .as_u16(),
        )
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.scope.kill();
    }
}

/// A server whose certificate the signer issues.
fn server_flags(kubernetes: &Kubernetes, url: &str) -> Vec<String> {
    let token = kubernetes.pod(
        "server-1",
        "server",
        &json!({"spec": {"hostNetwork": false}, "status": {"podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd01::7"}]}}),
    );
    fs::write(kubernetes.file("server-token"), token).expect("writing");
    let at = files(kubernetes, "server");
    let flag = |name: &str, file: &Path| format!("--tls-{name}={}", file.display());
    vec![
        format!("--database=sqlite:{}", kubernetes.file("db").display()),
        "--tls=required".to_owned(),
        flag("cert", &at.certificate),
        flag("key", &at.key),
        flag("ca", &at.authorities),
        format!("--tls-issuer={url}"),
        flag("issuer-token", &kubernetes.file("server-token")),
    ]
}

/// A cluster whose authority is there already.
async fn cluster() -> Kubernetes {
    let kubernetes = new_cluster().await;
    let directory = kubernetes.file("authority");
    init(&directory, &[]);
    let file = |name: &str| STANDARD.encode(fs::read(directory.join(name)).expect("a file"));
    let data = json!({"ca.crt": file("ca.crt"), "ca.key": file("ca.key")});
    let secret = json!({"metadata": {}, "data": data});
    kubernetes.world.lock().put("secrets/authority", secret);
    kubernetes
}

/// Makes an authority there.
fn init(directory: &Path, more: &[&str]) {
    let flag = format!("--directory={}", directory.display());
    let status = program(&["pki", "init", &flag]).args(more).status();
    assert!(status.expect("it runs").success());
}

async fn new_cluster() -> Kubernetes {
    let kubernetes = Kubernetes::start().await;
    kubernetes.node(
        "n-1",
        &[
            ("InternalIP", "10.0.0.1"),
            ("InternalIP", "fd00::1"),
            ("ExternalIP", "192.0.2.1"),
            ("Hostname", "n-1"),
        ],
    );
    kubernetes
}

#[tokio::test]
async fn what_a_pod_gets_is_what_kubernetes_says_of_it() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &["--lasts=2h"]).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    let (status, reply) = signer.ask(&kubernetes, &token).await;
    assert_eq!(status, 200, "{reply}");
    let agent = leaf(reply["certificate"].as_str().expect("a certificate"));
    assert_eq!(agent.identity.to_string(), "agent n-1 of group g");
    assert_eq!(agent.addresses, ips(&["10.0.0.1", "fd00::1"]));
    let lasts = agent.expires.abs_diff(Clock::system().now());
    assert!(
        lasts.abs_diff(Duration::from_hours(2)) < Duration::from_mins(1),
        "{lasts:?}"
    );

    // One that is not on its node's network is at its own addresses.
    let pod = json!({"spec": {"hostNetwork": false}, "status": {"podIPs": [{"ip": "10.1.0.9"}]}});
    let token = kubernetes.pod("a-2", "agent", &pod);
    let (_, reply) = signer.ask(&kubernetes, &token).await;
    let agent = leaf(reply["certificate"].as_str().expect("a certificate"));
    assert_eq!(agent.addresses, ips(&["10.1.0.9"]));

    let pod = json!({"status": {"podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd01::7"}]}});
    let token = kubernetes.pod("server-1", "server", &pod);
    let (_, reply) = signer.ask(&kubernetes, &token).await;
    let certificate = reply["certificate"].as_str().expect("a certificate");
    let server = leaf(certificate);
    assert_eq!(server.identity.to_string(), "server server-1");
    assert_eq!(
        server.addresses,
        ips(&["10.1.0.7", "fd01::7", "127.0.0.1", "::1"])
    );
    assert_eq!(signer.counted("issued").await, 3);
}

#[tokio::test]
async fn agents_and_servers_live_by_what_is_issued() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &["--lasts=24s"]).await;
    let flags = server_flags(&kubernetes, &signer.url());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let server = Server::start_at(&flags, Clock::system()).await;
    eventually("ready", async || server.admin("/readyz").await.0 == 200).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    let agent = Agent::start(&kubernetes, "agent", &signer.url(), &token);
    eventually("a certificate", async || agent.tls.own().is_some()).await;
    let api = server.api.to_string();
    assert_eq!(agent.sync(&api, "10.0.0.1:7787").await, Some(201));
    assert_eq!(agent.sync(&api, "[fd00::1]:7787").await, Some(201));
    assert_eq!(agent.sync(&api, "10.0.0.2:7787").await, Some(403));

    // Both are renewed well before their ends.
    let first = agent.expires().expect("a certificate");
    let of_server = fs::read(files(&kubernetes, "server").certificate).expect("a file");
    eventually("a newer one", async || agent.expires() > Some(first)).await;
    assert!(Clock::system().now() < first, "it was renewed too late");
    eventually("a newer one of the server", async || {
        fs::read(files(&kubernetes, "server").certificate).expect("a file") != of_server
    })
    .await;
    assert_eq!(agent.sync(&api, "10.0.0.1:7787").await, Some(201));
    // The key is its owner's only.
    let mode = fs::metadata(files(&kubernetes, "agent").key)
        .expect("a key")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    // What is there counts over a restart, and is not asked for again.
    drop(agent);
    let issued = signer.counted("issued").await;
    let agent = Agent::start(&kubernetes, "agent", "https://127.0.0.1:1", &token);
    assert!(agent.tls.own().is_some());
    assert!(agent.readiness.is_ready());
    assert_eq!(agent.sync(&api, "10.0.0.1:7787").await, Some(201));
    assert!(
        signer.counted("issued").await <= issued + 1,
        "the server's alone"
    );
}

/// Calls that are each refused for what they say, and counted as what comes after it.
async fn refuses(kubernetes: &Kubernetes, signer: &Signer, cases: &[(&str, &str, String)]) {
    for (why, outcome, token) in cases {
        let before = signer.counted(outcome).await;
        let (status, reply) = signer.ask(kubernetes, token).await;
        let said = reply["error"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{why}: {status} {reply}");
        assert!([401, 403].contains(&status), "{why}: {status}");
        assert_eq!(signer.counted(outcome).await, before + 1, "{why}");
        assert!(!said.contains(token), "{said}");
    }
    assert_eq!(signer.counted("issued").await, 0);
}

#[tokio::test]
async fn a_token_of_somebody_else_gets_nothing() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &[]).await;
    let said = |name: &str, place: &str, value: Value| {
        let token = kubernetes.pod(name, "agent", &json!({}));
        let mut world = kubernetes.world.lock();
        let status = world.tokens.get_mut(&token).expect("a token");
        *status.pointer_mut(place).expect("a place") = value;
        token
    };
    let user = |name: &str, user: &str| said(name, "/user/username", json!(user));
    let other = kubernetes.pod("o", "other", &json!({}));
    let cases = [
        ("not taken", "token", "unknown".to_owned()),
        (
            "another audience",
            "token",
            said("aud", "/audiences", json!(["api"])),
        ),
        (
            "another audience",
            "token",
            said("none", "/audiences", Value::Null),
        ),
        (
            "bound to no pod",
            "token",
            said("loose", "/user/extra", json!({})),
        ),
        ("no certificates are issued to", "account", other),
        (
            "issued to",
            "account",
            user("ns", "system:serviceaccount:other:agent"),
        ),
        ("issued to ann", "account", user("ann", "ann")),
    ];
    refuses(&kubernetes, &signer, &cases).await;
    let log = signer.0.log().join("\n");
    assert!(log.contains("no certificate was issued"), "{log}");
    assert!(
        !log.contains("token-") && !log.contains("bearer token unknown"),
        "{log}"
    );
}

#[tokio::test]
async fn a_pod_that_is_not_what_its_token_says_gets_nothing() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &[]).await;
    let pod = |name: &str, change: Value| kubernetes.pod(name, "agent", &change);
    let phase = |name: &str, phase: &str| pod(name, json!({"status": {"phase": phase}}));
    let gone = pod("gone", json!({}));
    let moved = pod("moved", json!({}));
    {
        let mut world = kubernetes.world.lock();
        world.objects.remove("pods/gone");
        // Since 1.29 the token names its node, too.
        let token = world.tokens.get_mut(&moved).expect("a token");
        token["user"]["extra"]["authentication.kubernetes.io/node-name"] = json!(["n-2"]);
    }
    let account = json!({"spec": {"serviceAccountName": "x"}});
    let ends = json!({"metadata": {"deletionTimestamp": "now"}});
    let server = kubernetes.pod("s", "server", &json!({"status": {"podIPs": []}}));
    let cases = [
        ("is gone", "pod", gone),
        ("on another node", "pod", moved),
        (
            "is another one",
            "pod",
            pod("uid", json!({"metadata": {"uid": "newer"}})),
        ),
        ("another service account", "pod", pod("sa", account)),
        ("has ended", "pod", phase("done", "Succeeded")),
        ("has ended", "pod", phase("failed", "Failed")),
        ("about to end", "pod", pod("ends", ends)),
        (
            "is on no node",
            "pod",
            pod("waits", json!({"spec": {"nodeName": null}})),
        ),
        ("no address yet", "pod", server),
    ];
    refuses(&kubernetes, &signer, &cases).await;
}

#[tokio::test]
async fn a_node_without_an_address_of_its_own_gets_nothing() {
    let kubernetes = cluster().await;
    kubernetes.node(
        "n-2",
        &[("ExternalIP", "192.0.2.2"), ("InternalIP", "127.0.0.1")],
    );
    kubernetes.node("n-3", &[("InternalIP", "10.9.0.3")]);
    let signer = Signer::start(&kubernetes, &["--node-cidrs=10.0.0.0/16,fd00::/8"]).await;
    let on = |name: &str, node: &str| {
        let pod = json!({"spec": {"nodeName": node}, "status": {"podIPs": []}});
        kubernetes.pod(name, "agent", &pod)
    };
    let cases = [
        ("node n-9 is gone", "node", on("lost", "n-9")),
        ("no address that is certified", "node", on("outer", "n-2")),
        ("no address that is certified", "node", on("else", "n-3")),
        ("strange name", "node", on("odd", "../secrets")),
    ];
    refuses(&kubernetes, &signer, &cases).await;
}

#[tokio::test]
async fn what_is_no_request_of_its_own_key_gets_nothing() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &[]).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    let good = request(&key());
    // One character of the signature is another one.
    let text: Value = serde_json::from_str(&good).expect("JSON");
    let pem = text["request"].as_str().expect("PEM");
    let mut lines: Vec<_> = pem.lines().map(str::to_owned).collect();
    let last = lines.len() - 2;
    let flipped = if lines[last].starts_with('A') {
        "B"
    } else {
        "A"
    };
    lines[last].replace_range(0..1, flipped);
    let forged = json!({"request": lines.join("\n")}).to_string();
    for (body, says) in [
        (forged, "its own key"),
        (json!({"request": "hello"}).to_string(), "PKCS #10"),
        (json!({}).to_string(), "not understood"),
        ("\u{0}".to_owned(), "not understood"),
        (
            json!({"request": "x".repeat(64 << 10)}).to_string(),
            "too long",
        ),
    ] {
        let (status, reply) = signer.post(&kubernetes, Some(&token), body).await;
        assert_eq!(status, 400, "{reply}");
        assert!(reply.to_string().contains(says), "{says}: {reply}");
    }
    let long = "x".repeat(9 << 10);
    for token in [None, Some(""), Some(&*long)] {
        let (status, reply) = signer.post(&kubernetes, token, good.clone()).await;
        assert_eq!(status, 401, "{reply}");
    }
    // The API was not troubled with any of it.
    assert_eq!(kubernetes.world.lock().reviews, 0);
    assert_eq!(signer.post(&kubernetes, Some(&token), good).await.0, 200);
}

#[tokio::test]
async fn a_pod_that_asks_too_often_has_to_wait() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &[]).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    for _ in 0..10 {
        assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
    }
    let (status, reply) = signer.ask(&kubernetes, &token).await;
    assert_eq!(status, 429, "{reply}");
    assert!(reply["retry_after_seconds"].as_u64() > Some(0), "{reply}");
    let other = kubernetes.pod("a-2", "agent", &json!({}));
    assert_eq!(signer.ask(&kubernetes, &other).await.0, 200);
    assert_eq!(signer.counted("limited").await, 1);
}

#[tokio::test]
async fn an_address_has_as_many_calls_as_it_is_given() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &["--calls-per-address=1"]).await;
    let mut refused = 0;
    // Ten at once, and one each second: the default would take them all.
    for _ in 0..40 {
        match signer.post(&kubernetes, None, request(&key())).await {
            (401, _) => {}
            (429, reply) => {
                assert!(reply.to_string().contains("too many calls of 127.0.0.1"));
                refused += 1;
            }
            (status, reply) => panic!("{status}: {reply}"),
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn while_kubernetes_is_away_what_was_issued_goes_on() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &["--lasts=1h"]).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    let agent = Agent::start(&kubernetes, "agent", &signer.url(), &token);
    eventually("a certificate", async || agent.tls.own().is_some()).await;
    kubernetes.world.lock().is_away = true;
    let (status, reply) = signer.ask(&kubernetes, &token).await;
    assert_eq!(status, 503, "{reply}");
    assert_eq!(signer.counted("away").await, 1);
    assert!(agent.readiness.is_ready() && agent.tls.own().is_some());

    // Who has none says so, and gets one as soon as there are any.
    let token = kubernetes.pod("a-2", "agent", &json!({}));
    let late = Agent::start(&kubernetes, "late", &signer.url(), &token);
    eventually("a reason", async || {
        late.readiness
            .verbose()
            .contains("who asks cannot be found out")
    })
    .await;
    assert!(!late.readiness.is_ready());
    kubernetes.world.lock().is_away = false;
    eventually("a certificate", async || late.tls.own().is_some()).await;
    eventually("ready", async || late.readiness.is_ready()).await;
}

#[tokio::test]
async fn while_kubernetes_is_slow_a_call_ends_before_its_caller_gives_it_up() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &[]).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    // Each of three calls is answered in time.
    kubernetes.world.lock().takes = Duration::from_millis(7500);
    let begin = Instant::now();
    let (status, reply) = signer.ask(&kubernetes, &token).await;
    assert_eq!(status, 503, "{reply}");
    let said = reply["error"].as_str().unwrap_or_default();
    assert!(said.contains("not found out in time"), "{said}");
    assert!(begin.elapsed() < DEADLINE * 3 / 4, "{:?}", begin.elapsed());
    kubernetes.world.lock().takes = Duration::ZERO;
    assert_eq!(signer.counted("late").await, 1);
    assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
}

#[tokio::test]
async fn two_signers_that_begin_at_once_have_one_authority() {
    let kubernetes = new_cluster().await;
    let both = ["one", "two"].map(|name| Signer::begin(&kubernetes, name, &[]));
    for signer in &both {
        eventually("ready", async || signer.ready().await.0).await;
    }
    let trusted = kubernetes.trusted(TRUSTED);
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 1, "{trusted}");
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    for signer in &both {
        assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
    }
    let (secret, labels) = {
        let world = kubernetes.world.lock();
        let secret = world.objects["secrets/authority"].clone();
        (secret["data"].clone(), secret["metadata"]["labels"].clone())
    };
    let of_secret = STANDARD.decode(secret["ca.crt"].as_str().expect("a certificate"));
    assert_eq!(of_secret.expect("base64"), trusted.as_bytes());
    // What others have said of the object stays.
    assert_eq!(labels["kept"], "yes");

    // A signer that comes later takes what is there.
    drop(both);
    let signer = Signer::start(&kubernetes, &[]).await;
    assert_eq!(kubernetes.trusted(TRUSTED), trusted);
    assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
}

#[tokio::test]
async fn a_lost_key_is_not_replaced_behind_everybodys_back() {
    let kubernetes = cluster().await;
    drop(Signer::start(&kubernetes, &[]).await);
    let before = kubernetes.trusted(TRUSTED);
    let empty = json!({"metadata": {}});
    kubernetes
        .world
        .lock()
        .put("secrets/authority", empty.clone());
    let signer = Signer::begin(&kubernetes, "again", &[]);
    eventually("a reason", async || {
        signer.ready().await.1.contains("its key is lost")
    })
    .await;
    assert!(!signer.ready().await.0);
    // Its owner says so.
    kubernetes.world.lock().put("configmaps/public", empty);
    eventually("ready", async || signer.ready().await.0).await;
    assert_ne!(kubernetes.trusted(TRUSTED), before);
}

/// As by `kubectl replace`, or `helm upgrade --force`.
#[tokio::test]
async fn a_signer_that_runs_puts_back_what_somebody_empties() {
    let kubernetes = cluster().await;
    let signer = Signer::start(&kubernetes, &[]).await;
    let before = kubernetes.trusted(TRUSTED);
    for object in ["secrets/authority", "configmaps/public"] {
        kubernetes.world.lock().put(object, json!({"metadata": {}}));
    }
    eventually("what was there", async || {
        let is_there = kubernetes.world.lock().objects["secrets/authority"]["data"].is_object();
        is_there && kubernetes.trusted(TRUSTED) == before
    })
    .await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
}

/// As `helm upgrade --force` does, which also has a new pod take the place of the old one.
#[tokio::test]
async fn a_new_signer_leaves_what_somebody_empties_to_one_that_runs() {
    let kubernetes = cluster().await;
    let old = Signer::start(&kubernetes, &[]).await;
    let before = kubernetes.trusted(TRUSTED);
    // The old one does not look for some seconds.
    old.0.signal(Signal::STOP);
    for object in ["secrets/authority", "configmaps/public"] {
        kubernetes.world.lock().put(object, json!({"metadata": {}}));
    }
    let new = Signer::begin(&kubernetes, "new", &[]);
    eventually("a reason", async || {
        let (is_ready, why) = new.ready().await;
        is_ready || why.contains("it is given a new authority")
    })
    .await;
    old.0.signal(Signal::CONT);
    eventually("ready", async || new.ready().await.0).await;
    assert_eq!(kubernetes.trusted(TRUSTED), before);
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    assert_eq!(new.ask(&kubernetes, &token).await.0, 200);
}

#[tokio::test]
async fn another_authority_takes_over_without_a_gap() {
    let kubernetes = cluster().await;
    let directory = kubernetes.file("pki");
    init(&directory, &[]);
    let flag = format!("--directory={}", directory.display());
    let signer = Signer::start(&kubernetes, &[&flag, "--lasts=1h"]).await;
    let token = kubernetes.pod("a-1", "agent", &json!({}));
    let old = kubernetes.trusted(TRUSTED);
    assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
    drop(signer);
    init(&directory, &["--replace"]);
    let signer = Signer::start(&kubernetes, &[&flag, "--lasts=1h"]).await;
    // Both are trusted until somebody takes the old one out.
    let both = kubernetes.trusted(TRUSTED);
    assert!(both.contains(old.trim()), "{both}");
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2, "{both}");
    assert_eq!(signer.ask(&kubernetes, &token).await.0, 200);
    // The old one alone does not do any more.
    fs::write(kubernetes.file("old.crt"), old).expect("writing");
    let client = HttpsClient::new(kubernetes.file("old.crt"), DEADLINE, Clock::system());
    let call = Request::post(format!("{}{PATH}", signer.url()));
    let call = call.body(Bytes::new()).expect("a request");
    assert!(client.send(call, DEADLINE).await.is_err());
}

#[tokio::test]
async fn a_server_waits_for_its_certificate() {
    let kubernetes = cluster().await;
    // Nobody is there yet, and nobody is trusted.
    let flags = server_flags(&kubernetes, "https://127.0.0.1:1");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let server = Server::start_at(&flags, Clock::system()).await;
    let (status, why) = server.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("certificate failed"), "{why}");
    drop(server);

    let signer = Signer::start(&kubernetes, &[]).await;
    let flags = server_flags(&kubernetes, &signer.url());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let server = Server::start_at(&flags, Clock::system()).await;
    eventually("ready", async || server.admin("/readyz").await.0 == 200).await;
}

#[test]
fn odd_settings_get_clear_errors() {
    let base = ["--directory=/x", "--address=127.0.0.1", "--agents=g=a/b"];
    for (flags, says) in [
        (vec!["--address=127.0.0.1", "--agents=g=a/b"], "--directory"),
        (vec!["--directory=/x", "--secret=a/b"], "--secret"),
        (
            [&base[..2], &["--agents=a/b"]].concat(),
            "GROUP=NAMESPACE/NAME",
        ),
        ([&base[..2], &["--agents=g=a"]].concat(), "NAMESPACE/NAME"),
        (
            [&base[..2], &["--servers=a/../b"]].concat(),
            "NAMESPACE/NAME",
        ),
        ([&base[..], &["--lasts=1d"]].concat(), "is no time"),
        ([&base[..], &["--lasts=9000h"]].concat(), "90 days"),
        ([&base[..], &["--api=http://k"]].concat(), "https://"),
        (base[..2].to_vec(), "nobody would get"),
        ([&base[..1], &base[2..]].concat(), "--host"),
    ] {
        let mut program = program(&["pki", "serve", "--listen=127.0.0.1:0"]);
        let output = program
            .arg("--admin-listen=127.0.0.1:0")
            .args(&flags)
            .output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(says),
            "{flags:?}: {said}"
        );
    }
}
