//! Connections whose sides show who they are.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use axum::{Extension, Router, routing::get};
use daemon::{
    client::{CallError, JsonClient},
    clock::Clock,
    scope::Scope,
    serve::{self, Limits},
    telemetry::chain,
    tls::{Files, Mode, Peer, Role, Shown, Tls},
};
use tempfile::TempDir;
use testbed::{Authority, Certificate, Subject};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEADLINE: Duration = Duration::from_secs(20);
const SERVER: &str = "spiffe://c/piccolo/server/s";
const AGENT: &str = "spiffe://c/piccolo/agent/g/n";
const ALL: &[Role] = &[Role::Agent, Role::Server, Role::Operator, Role::Reader];

/// What is done to good files.
type Change<'a> = &'a dyn Fn(&mut Files);

/// An authority and its directory.
struct Ours {
    directory: TempDir,
    authority: Authority,
}

impl Ours {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::within(directory.path()).expect("an authority");
        Self {
            directory,
            authority,
        }
    }

    fn files(&self, Certificate { certificate, key }: Certificate) -> Files {
        Files {
            certificate,
            key,
            authorities: self.authority.certificate(),
            seen: None,
        }
    }

    fn certified(&self, file: &str, uri: &str) -> Files {
        self.files(
            self.authority
                .identify(file, uri, &[HERE])
                .expect("a certificate"),
        )
    }

    fn lasting(&self, file: &str, uri: &str, lasts: Duration) -> Certificate {
        let subject = Subject {
            file,
            host: None,
            uri: Some(uri),
            addresses: &[HERE],
            lasts,
        };
        self.authority.issue(&subject).expect("a certificate")
    }

    fn tls(&self, mode: Mode, file: &str, uri: &str) -> Tls {
        Tls::load(mode, Some(self.certified(file, uri)), ALL, Clock::system())
            .expect("it can be used")
    }
}

/// Says to each client what that has shown.
struct Serving {
    address: SocketAddr,
    scope: Scope,
}

async fn serve(tls: Tls) -> Serving {
    serve_at("127.0.0.1:0".parse().expect("an address"), tls, 1024).await
}

async fn serve_at(address: SocketAddr, tls: Tls, connections: usize) -> Serving {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (scope, _deaths) = Scope::new();
    let who = |Extension(shown): Extension<Shown>| async move {
        match shown {
            Shown::Plain => "plain".to_owned(),
            Shown::Nothing => "nothing".to_owned(),
            Shown::Certificate(leaf) => leaf.identity.to_string(),
        }
    };
    let limits = Limits {
        connections,
        head: DEADLINE,
        stall: DEADLINE,
        per_address: usize::MAX,
        counts_as: serve::network,
        dropped: |_| {},
    };
    let router = Router::new().route("/", get(who));
    scope.task(
        tracing::Span::none(),
        serve::serve(listener, router, tls.clone(), limits, scope.clone()),
    );
    scope.service("certificates", tls.follow(scope.clone()));
    Serving { address, scope }
}

impl Serving {
    async fn stop(self) {
        self.scope.drain();
        tokio::time::timeout(DEADLINE, self.scope.finished())
            .await
            .expect("it ends");
    }
}

fn client(tls: Tls, role: Role) -> JsonClient {
    let role = Some(role);
    JsonClient::of(
        Peer {
            tls,
            role,
            group: None,
        },
        DEADLINE,
        4,
    )
}

async fn ask(client: &JsonClient, server: SocketAddr) -> Result<String, CallError> {
    let reply = client.get(&format!("http://{server}/"), DEADLINE).await?;
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}

/// Why there is no answer.
async fn refused(client: &JsonClient, server: SocketAddr) -> String {
    let error = ask(client, server).await.expect_err("no answer");
    chain(&error).to_string()
}

#[tokio::test]
async fn each_side_learns_who_the_other_is() {
    let ours = Ours::new();
    for mode in [Mode::Required, Mode::Permissive] {
        let server = serve(ours.tls(mode, "s", SERVER)).await;
        let agent = client(ours.tls(mode, "a", AGENT), Role::Server);
        assert_eq!(
            ask(&agent, server.address).await.expect("an answer"),
            "agent n of group g"
        );
    }
}

#[tokio::test]
async fn what_is_plain_is_refused_where_tls_is_required_and_taken_where_it_may_be() {
    let ours = Ours::new();
    let plain = JsonClient::new(DEADLINE);
    let required = serve(ours.tls(Mode::Required, "s", SERVER)).await;
    assert!(ask(&plain, required.address).await.is_err());
    let permissive = serve(ours.tls(Mode::Permissive, "s", SERVER)).await;
    assert_eq!(
        ask(&plain, permissive.address).await.expect("an answer"),
        "plain"
    );
    // And the other way round.
    let off = serve(Tls::default()).await;
    let may = client(ours.tls(Mode::Permissive, "a", AGENT), Role::Server);
    assert_eq!(ask(&may, off.address).await.expect("an answer"), "plain");
    let must = client(ours.tls(Mode::Required, "a", AGENT), Role::Server);
    assert!(ask(&must, off.address).await.is_err());
    let https = format!("https://{}/", off.address);
    let error = plain.get(&https, DEADLINE).await.expect_err("no answer");
    assert!(
        chain(&error).to_string().contains("--tls has to be on"),
        "{error:?}"
    );
    assert!(
        may.get(&https, DEADLINE).await.is_err(),
        "a URL that asks for TLS gets it"
    );
}

#[tokio::test]
async fn nobody_passes_for_another() {
    let ours = Ours::new();
    let theirs = Ours::new();
    let server = serve(ours.tls(Mode::Required, "s", SERVER)).await;
    let foreign = client(theirs.tls(Mode::Required, "a", AGENT), Role::Server);
    let said = refused(&foreign, server.address).await;
    assert!(said.contains("UnknownIssuer"), "{said}");
    // Whom this side trusts is not whom the other one does: the server must find out by itself.
    let mut files = theirs.certified("b", AGENT);
    files.authorities = ours.authority.certificate();
    let tls = Tls::load(Mode::Required, Some(files), ALL, Clock::system()).expect("it can be used");
    assert!(
        ask(&client(tls, Role::Server), server.address)
            .await
            .is_err()
    );
    let agent = ours.tls(Mode::Required, "a", AGENT);
    let said = refused(&client(agent.clone(), Role::Operator), server.address).await;
    assert!(
        said.contains("has the certificate of server s, and the role operator is needed"),
        "{said}"
    );
    let elsewhere: IpAddr = [127, 0, 0, 9].into();
    let files = ours
        .authority
        .identify("e", SERVER, &[elsewhere])
        .expect("a certificate");
    let tls = Tls::load(
        Mode::Required,
        Some(ours.files(files)),
        ALL,
        Clock::system(),
    )
    .expect("it can be used");
    let server = serve(tls).await;
    let said = refused(&client(agent, Role::Server), server.address).await;
    assert!(said.contains("not valid for name"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_has_expired_counts_for_nothing() {
    let ours = Ours::new();
    let files = || ours.files(ours.lasting("a", AGENT, Duration::from_secs(2)));
    let brief =
        Tls::load(Mode::Required, Some(files()), ALL, Clock::system()).expect("it is valid");
    let server = serve(ours.tls(Mode::Required, "s", SERVER)).await;
    let agent = client(brief.clone(), Role::Server);
    assert!(ask(&agent, server.address).await.is_ok());
    // A connection ends with the certificate, and a session of it is not resumed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(ask(&agent, server.address).await.is_err());
    assert!(
        ask(&client(brief, Role::Server), server.address)
            .await
            .is_err()
    );
    let expired = ours.files(ours.lasting("o", AGENT, Duration::ZERO));
    let error =
        Tls::load(Mode::Required, Some(expired), ALL, Clock::system()).expect_err("it has expired");
    assert!(error.to_string().contains("has expired"), "{error}");
}

/// A session that is resumed does not check the server's certificate again.
#[tokio::test]
async fn a_server_whose_certificate_has_expired_is_not_asked() {
    let ours = Ours::new();
    let brief = ours.files(ours.lasting("s", SERVER, Duration::from_secs(2)));
    let brief = Tls::load(Mode::Required, Some(brief), ALL, Clock::system()).expect("it is valid");
    let server = serve(brief).await;
    let agent = client(ours.tls(Mode::Required, "a", AGENT), Role::Server);
    assert!(ask(&agent, server.address).await.is_ok());
    // Longer than a connection waits for the next call.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let said = refused(&agent, server.address).await;
    assert!(said.contains("has expired"), "{said}");
}

/// Who has shown a certificate once is not believed without, over restarts of the one that saw it.
#[tokio::test]
async fn tls_is_not_stripped() {
    let ours = Ours::new();
    let seen = ours.directory.path().join("seen.json");
    let load = || {
        let mut files = ours.certified("a", AGENT);
        files.seen = Some(seen.clone());
        Tls::load(Mode::Permissive, Some(files), ALL, Clock::system()).expect("it can be used")
    };
    let agent = load();
    let server = serve(ours.tls(Mode::Permissive, "s", SERVER)).await;
    let address = server.address;
    assert_eq!(
        ask(&client(agent.clone(), Role::Server), address)
            .await
            .expect("an answer"),
        "agent n of group g"
    );
    server.stop().await;
    let (scope, _deaths) = Scope::new();
    scope.drain();
    agent.follow(scope).await;

    let stripped = serve_at(address, Tls::default(), 64).await;
    let restarted = client(load(), Role::Server);
    let said = refused(&restarted, address).await;
    assert!(said.contains("does not speak TLS, as it did"), "{said}");
    stripped.stop().await;
    fs::remove_file(&seen).expect("it was written");
    let _plain = serve_at(address, Tls::default(), 64).await;
    let forgotten = client(load(), Role::Server);
    assert_eq!(ask(&forgotten, address).await.expect("an answer"), "plain");
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let ours = Ours::new();
    let server = serve(ours.tls(Mode::Required, "s", SERVER)).await;
    let tls = ours.tls(Mode::Required, "a", AGENT);
    let (scope, _deaths) = Scope::new();
    scope.service("certificates", tls.clone().follow(scope.clone()));
    let asked = async || ask(&client(tls.clone(), Role::Server), server.address).await;
    assert_eq!(asked().await.expect("an answer"), "agent n of group g");

    // What cannot be used leaves what was there in force.
    fs::write(ours.directory.path().join("a.crt"), "nothing").expect("it is written");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(asked().await.expect("an answer"), "agent n of group g");
    ours.authority
        .identify("a", "spiffe://c/piccolo/agent/g/m", &[HERE])
        .expect("a certificate");
    let changed = async {
        while asked().await.expect("an answer") != "agent m of group g" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, changed)
        .await
        .expect("it is in force");
    scope.drain();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let ours = Ours::new();
    let load = |change: Change<'_>| {
        let mut files = ours.certified("a", AGENT);
        change(&mut files);
        let error = Tls::load(Mode::Required, Some(files), &[Role::Agent], Clock::system())
            .expect_err("no use");
        chain(&error).to_string()
    };
    let nothing = ours.directory.path().join("nothing");
    let empty = ours.directory.path().join("empty");
    fs::write(&empty, "").expect("it is written");
    let other = ours.certified("s", SERVER);
    let nameless = ours
        .authority
        .certify("127.0.0.1", &[])
        .expect("a certificate");
    let cases: [(Change<'_>, &[&str]); 6] = [
        (
            &|files| files.key = nothing.clone(),
            &["nothing", "cannot be read", "does not exist"],
        ),
        (
            &|files| files.certificate = empty.clone(),
            &["empty has no certificate in PEM"],
        ),
        (
            &|files| files.authorities = empty.clone(),
            &["empty has no certificate in PEM"],
        ),
        (
            &|files| files.key = other.key.clone(),
            &["a.crt and", "s.key cannot be used together"],
        ),
        (
            &|files| *files = other.clone(),
            &["s.crt has the role server", "agent is needed"],
        ),
        (
            &|files| *files = ours.files(nameless.clone()),
            &["127.0.0.1.crt", "no URI name"],
        ),
    ];
    for (change, says) in cases {
        let said = load(change);
        for part in says {
            assert!(said.contains(part), "{said} lacks {part}");
        }
    }
    let missing = Mode::Permissive
        .files([None, None, None], None)
        .expect_err("no files");
    assert_eq!(
        missing.to_string(),
        "--tls permissive needs --tls-cert as well"
    );
    let mut files = ours.certified("a", AGENT);
    files.seen = Some(PathBuf::from("/proc/none/seen"));
    assert!(Tls::load(Mode::Permissive, Some(files), ALL, Clock::system()).is_err());
}

/// Connections that begin a handshake and say no more are bounded, and keep nobody out.
#[tokio::test]
async fn handshakes_without_end_keep_nobody_out() {
    let ours = Ours::new();
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = serve_at(any, ours.tls(Mode::Required, "s", SERVER), 32).await;
    let mut stalled = Vec::new();
    for n in 0..200_u8 {
        let mut stream = TcpStream::connect(server.address)
            .await
            .expect("a connection");
        if n % 2 == 0 {
            // A record of 512 bytes that never ends.
            stream
                .write_all(&[0x16, 3, 1, 2, 0, 1])
                .await
                .expect("it is sent");
        }
        stalled.push(stream);
    }
    let agent = client(ours.tls(Mode::Required, "a", AGENT), Role::Server);
    assert_eq!(
        ask(&agent, server.address).await.expect("an answer"),
        "agent n of group g"
    );
    // Those that still had a place are closed when their time is over.
    let mut last = stalled.pop().expect("one");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, last.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it is closed");
}
