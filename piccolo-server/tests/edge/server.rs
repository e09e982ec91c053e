//! A server in this process, called through its listeners.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use clap::Parser as _;
use daemon::{
    client::{JsonClient, Reply},
    clock::Clock,
    readiness::Readiness,
    scope::Scope,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use piccolo_server::{
    app::{self, Host},
    config::Cli,
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(40);

/// No two servers of a test are the same instance, and no two starts of agents the same epoch.
static INSTANCE: AtomicI64 = AtomicI64::new(1);

/// A running server; dropping it ends it.
pub(crate) struct Server {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) clock: Clock,
    scope: Scope,
    client: JsonClient,
}

impl Server {
    /// A server with these flags beside its addresses.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_at(flags, Clock::manual(Duration::from_hours(480_000))).await
    }

    pub(crate) async fn start_at(flags: &[&str], clock: Clock) -> Self {
        let args = [
            "piccolo-server",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ];
        let cli = Cli::try_parse_from(args.iter().chain(flags)).expect("valid flags");
        let (scope, _deaths) = Scope::new();
        let host = Host {
            scope: scope.clone(),
            readiness: Readiness::default(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            clock: clock.clone(),
            instance: INSTANCE.fetch_add(1, Ordering::Relaxed),
        };
        let app = app::build(cli.serve, host)
            .await
            .expect("the server starts");
        let (api, admin) = (app.api, app.admin);
        app.run();
        Self {
            api,
            admin,
            clock,
            scope,
            client: JsonClient::new(DEADLINE),
        }
    }

    /// Posts a body to the letter.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.api);
        told(
            &self
                .client
                .post(&url, body, DEADLINE)
                .await
                .expect("a reply"),
        )
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.api);
        told(&self.client.get(&url, DEADLINE).await.expect("a reply"))
    }

    /// From the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let reply = self.client.get(&url, DEADLINE).await.expect("a reply");
        (
            reply.status.as_u16(),
            String::from_utf8_lossy(&reply.body).into_owned(),
        )
    }

    /// The holders that a node would be answered, sorted.
    pub(crate) async fn holders(&self, key: &str, host: &str) -> Vec<String> {
        let mut holders = self.ranked(key, host, 100).await;
        holders.sort();
        holders
    }

    /// The holders in the order of the answer.
    pub(crate) async fn ranked(&self, key: &str, host: &str, count: u32) -> Vec<String> {
        let query = format!("key={key}&group=g&count={count}&request_host={host}");
        let (status, reply) = self
            .get(&format!("/api/v1/distribution/findkey?{query}"))
            .await;
        match status {
            404 => Vec::new(),
            200 => texts(&reply["holders"]),
            other => panic!("{other}: {reply}"),
        }
    }

    /// Advertises keys of group `g` as a Go agent does.
    pub(crate) async fn advertise(&self, holder: &str, keys: &[&str]) {
        let call = serde_json::json!({"holder": holder, "keys": keys, "group": "g"});
        let (status, reply) = self.post(piccolo_api::path::ADVERTISE, &call).await;
        assert_eq!(status, 201, "{reply}");
    }

    /// Tells the keys of a node of group `g` as one of our agents does after its start.
    pub(crate) async fn announce(&self, holder: &str, keys: &[&str]) {
        let epoch = INSTANCE.fetch_add(1, Ordering::Relaxed);
        let call = serde_json::json!(
            {"holder": holder, "keys": keys, "group": "g", "epoch": epoch, "seq": 1}
        );
        let (status, reply) = self.post(piccolo_api::path::SYNC, &call).await;
        assert_eq!(status, 201, "{reply}");
    }

    /// Drains, as after SIGTERM.
    pub(crate) async fn stop(self) {
        self.scope.drain();
        let drained = tokio::time::timeout(DEADLINE, self.scope.finished()).await;
        drained.expect("the server drains");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.scope.kill();
    }
}

fn told(reply: &Reply) -> (u16, Value) {
    let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    (reply.status.as_u16(), body)
}

/// A list of texts.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().expect("a list").iter();
    texts
        .map(|text| text.as_str().expect("text").to_owned())
        .collect()
}

/// Asks until it is so; gives up after half a minute.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within half a minute");
}
