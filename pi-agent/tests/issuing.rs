//! An agent whose certificate a signer issues.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use axum::{
    Extension, Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{any, post},
};
use daemon::{
    clock::Clock,
    issuer::{Call, Issued, PATH, Refusal},
    scope::Scope,
    serve::{self, Limits},
    tls::{Files, Mode, Role, Shown, Tls},
};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use tempfile::TempDir;
use testbed::{Alone, Authority, Certificate, Subject};
use tokio::net::TcpListener;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pi-agent");
/// Where the agent says that it is.
const HERE: &str = "192.0.2.1";
const NODE: &str = "spiffe://c/piccolo/agent/default/n-1";
const MISSING: &str = "/v2/lib/a/blobs/sha256:\
                       0000000000000000000000000000000000000000000000000000000000000000?ns=r.test";
const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    per_address: 64,
    counts_as: serve::network,
    dropped: |_| {},
};

/// A signer and a server, which see who calls.
struct Cluster {
    directory: TempDir,
    seen: Arc<Seen>,
    address: SocketAddr,
    scope: Scope,
}

struct Seen {
    authority: Mutex<Authority>,
    /// The address that certificates are for, and how long they count; `None` refuses.
    issues: Mutex<Option<(&'static str, Duration)>>,
    tokens: Mutex<Vec<String>>,
    /// Who has called the server.
    callers: Mutex<Vec<Shown>>,
}

impl Cluster {
    async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (authority, own) = authority(directory.path())?;
        let files = Files {
            certificate: own.certificate,
            key: own.key,
            authorities: authority.certificate(),
            seen: None,
        };
        let tls = Tls::load(
            Mode::Required,
            Some(files),
            &[Role::Server],
            Clock::system(),
        )?;
        let seen = Arc::new(Seen {
            authority: Mutex::new(authority),
            issues: Mutex::default(),
            tokens: Mutex::default(),
            callers: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route(PATH, post(issue))
            .fallback(any(called))
            .with_state(Arc::clone(&seen));
        let (scope, _deaths) = Scope::new();
        scope.service("certificates", tls.clone().follow(scope.clone()));
        scope.service(
            "cluster",
            serve::serve(listener, router, tls, LIMITS, scope.clone()),
        );
        std::fs::write(directory.path().join("token"), "a-token\n")?;
        Ok(Self {
            directory,
            seen,
            address,
            scope,
        })
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn agent(&self, mode: &str) -> Result<Alone> {
        let flags = [
            format!("--tls={mode}"),
            format!("--tls-cert={}", self.file("state/tls.crt")),
            format!("--tls-key={}", self.file("state/tls.key")),
            format!("--tls-ca={}", self.file("ca.crt")),
            format!("--tls-issuer=https://{}", self.address),
            format!("--tls-issuer-token={}", self.file("token")),
        ];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let server = format!("http://{}", self.address);
        Alone::start_agent(Path::new(PROGRAM), &server, self.directory.path(), &flags)
    }

    fn issue(&self, address: &'static str, lasts: Duration) {
        *self.seen.issues.lock() = Some((address, lasts));
    }

    /// Another authority takes the place of the one that there was, as if nobody had prepared for it.
    fn replace_authority(&self) -> Result<()> {
        let (authority, _own) = authority(self.directory.path())?;
        *self.seen.authority.lock() = authority;
        Ok(())
    }

    /// Whether the agent has called the server as itself.
    fn is_called(&self) -> bool {
        let callers = std::mem::take(&mut *self.seen.callers.lock());
        callers.iter().any(|shown| {
            let leaf = shown.leaf();
            leaf.is_some_and(|leaf| leaf.identity.name == "n-1")
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.scope.kill();
    }
}

/// An authority, and what it certifies the cluster by.
fn authority(directory: &Path) -> Result<(Authority, Certificate)> {
    let authority = Authority::within(directory)?;
    let here = [[127, 0, 0, 1].into()];
    let own = authority.identify("server", "spiffe://c/piccolo/server/s", &here)?;
    Ok((authority, own))
}

async fn issue(
    State(seen): State<Arc<Seen>>,
    headers: HeaderMap,
    Json(call): Json<Call>,
) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|said| said.to_str().ok());
    seen.tokens
        .lock()
        .push(token.unwrap_or_default().to_owned());
    let Some((address, lasts)) = *seen.issues.lock() else {
        let refusal = Refusal {
            error: "pod piccolo/a is gone".to_owned(),
            retry_after_seconds: 0,
        };
        return (StatusCode::FORBIDDEN, Json(refusal)).into_response();
    };
    let subject = Subject {
        file: "n-1",
        host: None,
        uri: Some(NODE),
        addresses: &[address.parse().expect("an address")],
        lasts,
    };
    let certificate = seen
        .authority
        .lock()
        .sign(&call.request, &subject)
        .expect("a request");
    Json(Issued { certificate }).into_response()
}

async fn called(State(seen): State<Arc<Seen>>, Extension(shown): Extension<Shown>) -> StatusCode {
    seen.callers.lock().push(shown);
    StatusCode::SERVICE_UNAVAILABLE
}

/// Asks until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !is_so()? {
        ensure!(
            begin.elapsed() < Duration::from_secs(40),
            "{what}: not in time"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_pulls_go_on_and_with_one_the_server_is_asked() -> Result<()> {
    let cluster = Cluster::start().await?;
    let agent = cluster.agent("required")?;
    eventually("the reason", || {
        let page = agent.get("admin", "/readyz")?;
        Ok(page.starts_with("HTTP/1.1 503") && page.contains("pod piccolo/a is gone"))
    })?;
    // containerd goes to the registry, at once.
    let begin = Instant::now();
    ensure!(agent.get("mirror", MISSING)?.starts_with("HTTP/1.1 404"));
    ensure!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    ensure!(!cluster.is_called(), "the server was called by nobody");

    // One for another node is none.
    cluster.issue("192.0.2.7", Duration::from_hours(1));
    eventually("another reason", || {
        let page = agent.get("admin", "/readyz")?;
        Ok(page.contains("this node advertises 192.0.2.1"))
    })?;
    ensure!(!Path::new(&cluster.file("state/tls.crt")).exists());

    cluster.issue(HERE, Duration::from_hours(1));
    eventually("a certificate", || {
        let page = agent.get("admin", "/readyz?verbose")?;
        Ok(page.contains("[+]certificate ok"))
    })?;
    eventually("a call", || {
        let _ = agent.get("mirror", MISSING)?;
        Ok(cluster.is_called())
    })?;
    let page = agent.get("admin", "/metrics")?;
    ensure!(
        page.contains("piccolo_tls_issues_total{outcome=\"good\"} 1\n"),
        "{page}"
    );
    ensure!(
        page.contains("piccolo_tls_issues_total{outcome=\"failed\"}"),
        "{page}"
    );
    ensure!(
        cluster
            .seen
            .tokens
            .lock()
            .iter()
            .all(|token| token == "Bearer a-token")
    );
    let log = agent.log().join("\n");
    ensure!(!log.contains("a-token"), "{log}");

    // It is kept over a restart.
    drop(agent);
    *cluster.seen.issues.lock() = None;
    let asked = cluster.seen.tokens.lock().len();
    let agent = cluster.agent("required")?;
    let page = agent.get("admin", "/readyz?verbose")?;
    ensure!(page.contains("[+]certificate ok"), "{page}");
    eventually("a call", || Ok(cluster.is_called()))?;
    ensure!(cluster.seen.tokens.lock().len() == asked);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_before_its_end() -> Result<()> {
    let cluster = Cluster::start().await?;
    // It has counted for an hour already, of which this is the last third.
    cluster.issue(HERE, Duration::from_secs(20 * 60 + 10));
    let agent = cluster.agent("required")?;
    let read = || std::fs::read(cluster.file("state/tls.crt")).unwrap_or_default();
    eventually("a certificate", || Ok(!read().is_empty()))?;
    let first = read();
    eventually("a newer one", || Ok(read() != first))?;
    ensure!(
        agent
            .get("admin", "/readyz?verbose")?
            .contains("[+]certificate ok")
    );
    // While none is issued the last one stays in force.
    *cluster.seen.issues.lock() = None;
    eventually("a failure", || {
        Ok(agent
            .get("admin", "/readyz?verbose")?
            .contains("certificate degraded"))
    })?;
    eventually("a call", || {
        let _ = agent.get("mirror", MISSING)?;
        Ok(cluster.is_called())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_authority_that_is_gone_is_replaced_at_once() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.issue(HERE, Duration::from_hours(24));
    let agent = cluster.agent("required")?;
    let read = || std::fs::read(cluster.file("state/tls.crt")).unwrap_or_default();
    let called = || {
        let _ = agent.get("mirror", MISSING)?;
        Ok(cluster.is_called())
    };
    eventually("a call", called)?;
    let first = read();
    cluster.replace_authority()?;
    eventually("one of the other authority", || Ok(read() != first))?;
    let _ = cluster.is_called();
    eventually("a call with it", called)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_counts_before_it_can_be_written() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.issue(HERE, Duration::from_hours(24));
    // There can be no directory.
    std::fs::write(cluster.file("state"), "")?;
    let agent = cluster.agent("required")?;
    eventually("a call", || {
        let _ = agent.get("mirror", MISSING)?;
        Ok(cluster.is_called())
    })?;
    let page = agent.get("admin", "/readyz?verbose")?;
    ensure!(
        page.contains("[!]certificate degraded: it would not outlast a restart")
            && page.contains("state/tls.key cannot be written"),
        "{page}"
    );
    std::fs::remove_file(cluster.file("state"))?;
    eventually("the files", || {
        Ok(agent
            .get("admin", "/readyz?verbose")?
            .contains("[+]certificate ok"))
    })?;
    ensure!(Path::new(&cluster.file("state/tls.crt")).exists());
    ensure!(cluster.seen.tokens.lock().len() == 1, "it was asked again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_between_key_and_certificate_loses_neither_pair() -> Result<()> {
    let cluster = Cluster::start().await?;
    // It is renewed at each look.
    cluster.issue(HERE, Duration::from_secs(20 * 60 + 10));
    let agent = cluster.agent("required")?;
    let file = cluster.file("state/tls.crt");
    eventually("a certificate", || Ok(Path::new(&file).exists()))?;
    // From now on only the key can be written.
    std::fs::create_dir(format!("{file}.{}.new", agent.id()))?;
    cluster.issue(HERE, Duration::from_hours(24));
    eventually("a newer key", || {
        let page = agent.get("admin", "/readyz?verbose")?;
        Ok(page.contains("state/tls.crt cannot be written"))
    })?;
    drop(agent);
    *cluster.seen.issues.lock() = None;
    let _ = cluster.is_called();
    let agent = cluster.agent("required")?;
    let page = agent.get("admin", "/readyz?verbose")?;
    ensure!(page.contains("[+]certificate ok"), "{page}");
    eventually("a call", || Ok(cluster.is_called()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_sent_to_nobody_who_is_not_trusted() -> Result<()> {
    let (cluster, other) = (Cluster::start().await?, Cluster::start().await?);
    cluster.issue(HERE, Duration::from_hours(1));
    std::fs::copy(other.file("ca.crt"), cluster.file("ca.crt"))?;
    let agent = cluster.agent("required")?;
    eventually("the reason", || {
        Ok(agent
            .get("admin", "/readyz")?
            .contains("the signer cannot be asked"))
    })?;
    ensure!(cluster.seen.tokens.lock().is_empty());
    Ok(())
}
