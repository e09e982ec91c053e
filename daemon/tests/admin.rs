//! The admin endpoints over real sockets.

use std::time::Duration;

use daemon::{
    admin,
    client::{CallError, JsonClient, Reply},
    readiness::Readiness,
    scope::Scope,
    serve::{self, Limits},
    tls::Tls,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{io::AsyncReadExt as _, net::TcpListener, net::TcpStream};

const DEADLINE: Duration = Duration::from_secs(5);
const LIMITS: Limits = Limits {
    connections: 8,
    head: Duration::from_millis(200),
    stall: DEADLINE,
    per_address: 8,
    counts_as: serve::network,
    dropped: |_| {},
};

struct Server {
    url: String,
    scope: Scope,
}

async fn server(readiness: &Readiness) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (scope, _deaths) = Scope::new();
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let router = admin::router(readiness.clone(), metrics);
    scope.task(
        tracing::Span::none(),
        serve::serve(listener, router, Tls::default(), LIMITS, scope.clone()),
    );
    Server {
        url: format!("http://{address}"),
        scope,
    }
}

async fn get(server: &Server, path: &str) -> Result<Reply, CallError> {
    JsonClient::new(DEADLINE)
        .get(&format!("{}{path}", server.url), DEADLINE)
        .await
}

#[tokio::test]
async fn ready_when_every_guard_is_dropped_and_nothing_fails() {
    let readiness = Readiness::default();
    let guard = readiness.guard("database");
    let server = server(&readiness).await;
    let reply = get(&server, "/readyz").await.expect("a reply");
    assert_eq!(reply.status, 503);
    assert!(
        reply.body.starts_with(b"[-]database pending"),
        "{:?}",
        reply.body
    );

    drop(guard);
    readiness.degraded("topology", "the last edit is bad");
    let reply = get(&server, "/readyz?verbose").await.expect("a reply");
    assert_eq!(reply.status, 200);
    let body = String::from_utf8_lossy(&reply.body);
    assert!(
        body.contains("[!]topology degraded: the last edit is bad"),
        "{body}"
    );

    readiness.bad("database", "gone");
    assert_eq!(get(&server, "/readyz").await.expect("a reply").status, 503);
    assert_eq!(get(&server, "/healthz").await.expect("a reply").status, 200);
}

#[tokio::test]
async fn a_half_open_connection_is_ended() {
    let server = server(&Readiness::default()).await;
    let address = server.url.trim_start_matches("http://");
    let mut silent = TcpStream::connect(address)
        .await
        .expect("the listener listens");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(DEADLINE, silent.read_to_end(&mut rest)).await;
    read.expect("the server ends it at its deadline")
        .expect("it ends with FIN");
}

#[tokio::test]
async fn a_drain_closes_the_listener_and_idle_connections() {
    let server = server(&Readiness::default()).await;
    get(&server, "/healthz").await.expect("a reply");
    server.scope.drain();
    tokio::time::timeout(DEADLINE, server.scope.finished())
        .await
        .expect("nothing is left");
    get(&server, "/healthz")
        .await
        .expect_err("nobody listens any more");
}
