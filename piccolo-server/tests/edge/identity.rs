//! Who may say what, where connections show who they are.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use bytes::Bytes;
use daemon::{
    client::{JsonClient, Reply},
    clock::Clock,
    tls::{Files, Mode, Peer, Role, Tls},
};
use http::{Request, header};
use piccolo_api::path;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Authority, Certificate};

use crate::server::Server;

const DEADLINE: Duration = Duration::from_secs(20);
const ALL: &[Role] = &[Role::Agent, Role::Server, Role::Operator, Role::Reader];
const OPERATORS: [&str; 6] = [
    path::TOPOLOGY,
    path::BANDWIDTH,
    path::SUGGEST,
    path::LOCATE,
    "/api/v1/explain?to=10.0.0.2",
    "/api/v1/swarm?key=k&group=g",
];

/// A server that shows a certificate, and those who call it.
struct Cluster {
    directory: TempDir,
    authority: Authority,
    server: Server,
}

impl Cluster {
    async fn start(mode: &str, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::within(directory.path()).expect("an authority");
        let here = IpAddr::from([127, 0, 0, 1]);
        let own = authority.identify("server", "spiffe://c/piccolo/server/s", &[here]);
        let own = own.expect("a certificate");
        let database = format!("sqlite:{}", text(&directory.path().join("piccolo.db")));
        let files = authority.flags(&own);
        let [certificate, key, ca] = files.each_ref().map(String::as_str);
        let flags = ["--database", &database, "--tls", mode, certificate, key, ca];
        let server = Server::start_at(&[&flags, more].concat(), Clock::system()).await;
        Self {
            directory,
            authority,
            server,
        }
    }

    /// Calls as who has a certificate for `uri` and these addresses.
    fn caller(&self, uri: &str, addresses: &[IpAddr]) -> Caller {
        let Certificate { certificate, key } = self
            .authority
            .identify("caller", uri, addresses)
            .expect("a certificate");
        let files = Files {
            certificate,
            key,
            authorities: self.authority.certificate(),
            seen: None,
        };
        let tls =
            Tls::load(Mode::Required, Some(files), ALL, Clock::system()).expect("it can be used");
        self.by(tls)
    }

    fn agent(&self, group: &str, address: &str) -> Caller {
        let address = address.parse().expect("an address");
        self.caller(&format!("spiffe://c/piccolo/agent/{group}/n"), &[address])
    }

    fn plain(&self) -> Caller {
        self.by(Tls::default())
    }

    fn by(&self, tls: Tls) -> Caller {
        let role = Some(Role::Server);
        Caller {
            client: JsonClient::of(
                Peer {
                    tls,
                    role,
                    group: None,
                },
                DEADLINE,
                4,
            ),
            api: format!("http://{}", self.server.api),
            admin: format!("http://{}", self.server.admin),
        }
    }
}

struct Caller {
    client: JsonClient,
    api: String,
    admin: String,
}

impl Caller {
    async fn post(&self, path: &str, call: &Value) -> (u16, String) {
        let url = format!("{}{path}", self.api);
        told(
            &self
                .client
                .post(&url, call, DEADLINE)
                .await
                .expect("a reply"),
        )
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.api);
        told(&self.client.get(&url, DEADLINE).await.expect("a reply"))
    }

    async fn metrics(&self) -> (u16, String) {
        let url = format!("{}/metrics", self.admin);
        told(&self.client.get(&url, DEADLINE).await.expect("a reply"))
    }

    async fn with(&self, token: &str, url: &str) -> u16 {
        let request = Request::get(url).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Bytes::new()).expect("a request");
        told(&self.client.send(request, DEADLINE).await.expect("a reply")).0
    }
}

fn told(reply: &Reply) -> (u16, String) {
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    (reply.status.as_u16(), body)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// All calls that speak of a holder.
fn calls(holder: &str, group: &str) -> [(&'static str, Value); 7] {
    let key = format!("sha256:{}", "a".repeat(64));
    let host = holder
        .rsplit_once(':')
        .expect("a port")
        .0
        .trim_matches(['[', ']']);
    let set = json!({"holder": holder, "keys": [key], "group": group});
    let node = json!({"host": holder, "Group": group});
    let progress = json!({"holder": holder, "group": group, "fetches": []});
    let fetch = json!({
        "keys": [key], "group": group, "intent": "fetch", "holder": holder, "fetches": [],
        "request_host": host,
    });
    [
        (path::ADVERTISE, set.clone()),
        (path::SYNC, set),
        (path::KEEPALIVE, node.clone()),
        (path::PROGRESS, progress),
        (path::FIND, fetch),
        (
            path::TAG,
            json!({"holder": holder, "group": group, "tag": "r/a:v1", "max_age_ms": 0}),
        ),
        (path::LEAVE, node),
    ]
}

#[tokio::test]
async fn an_agent_speaks_for_itself_alone() {
    let cluster = Cluster::start("required", &["--bind-holder"]).await;
    for own in ["10.0.0.1", "fd09::6"] {
        let agent = cluster.agent("g", own);
        let at = |ip: &str, port: u16| {
            std::net::SocketAddr::new(ip.parse().expect("an address"), port).to_string()
        };
        // Its own address counts, wherever the call comes from; any port of it is its own.
        for (path, call) in calls(&at(own, 7787), "g") {
            let (status, reply) = agent.post(path, &call).await;
            assert!(status < 300, "{path}: {status} {reply}");
        }
        for (path, call) in calls(&at("10.0.0.2", 7787), "g") {
            let (status, reply) = agent.post(path, &call).await;
            assert!(
                status == 403 && reply.contains("is not for 10.0.0.2"),
                "{path}: {status} {reply}"
            );
        }
        for (path, call) in calls(&at(own, 7787), "other") {
            let (status, reply) = agent.post(path, &call).await;
            assert!(
                status == 403 && reply.contains("about group other"),
                "{path}: {status} {reply}"
            );
        }
    }
    let find = "/api/v1/distribution/findkey?key=k&count=1";
    let agent = cluster.agent("g", "10.0.0.1");
    assert_eq!(agent.get(&format!("{find}&group=g")).await.0, 404);
    assert_eq!(agent.get(&format!("{find}&group=other")).await.0, 403);
    assert_eq!(
        agent
            .get(&format!("{find}&group=g&request_host=10.0.0.2"))
            .await
            .0,
        403
    );
}

/// What was refused has changed nothing.
#[tokio::test]
async fn a_refused_call_changes_nothing() {
    let cluster = Cluster::start("required", &[]).await;
    let (victim, thief) = (
        cluster.agent("g", "10.0.0.1"),
        cluster.agent("g", "10.0.0.2"),
    );
    for (path, call) in calls("10.0.0.1:7787", "g").into_iter().take(1) {
        assert_eq!(victim.post(path, &call).await.0, 201);
    }
    for (path, call) in calls("10.0.0.1:7787", "g") {
        let emptied = json!({"holder": "10.0.0.1:7787", "keys": [], "group": "g"});
        let call = if path == path::SYNC { emptied } else { call };
        assert_eq!(thief.post(path, &call).await.0, 403, "{path}");
    }
    let key = format!("sha256:{}", "a".repeat(64));
    let (_, found) = thief
        .get(&format!(
            "/api/v1/distribution/findkey?key={key}&group=g&count=9"
        ))
        .await;
    assert!(found.contains("10.0.0.1:7787"), "{found}");
}

#[tokio::test]
async fn each_role_has_its_calls() {
    let cluster = Cluster::start("required", &[]).await;
    for role in ["operator", "reader", "server"] {
        let caller = cluster.caller(&format!("spiffe://c/piccolo/{role}/x"), &[]);
        for path in OPERATORS {
            let (status, reply) = caller.get(path).await;
            assert!(
                status == 200 || (status == 404 && path.contains("swarm")),
                "{role} {path}: {status} {reply}"
            );
        }
        assert_eq!(caller.metrics().await.0, 200, "{role}");
        for (path, call) in calls("10.0.0.1:7787", "g") {
            let (status, reply) = caller.post(path, &call).await;
            assert!(
                status == 403 && reply.contains("needs the role agent"),
                "{role} {path}: {status} {reply}"
            );
        }
    }
    let agent = cluster.agent("g", "10.0.0.1");
    for path in OPERATORS {
        assert_eq!(agent.get(path).await.0, 403, "{path}");
    }
    assert_eq!(agent.metrics().await.0, 403);
    // Probes have no certificate, and must not fail for want of one.
    let plain = cluster.plain();
    assert_eq!(plain.metrics().await.0, 401);
    let url = format!("{}/readyz", plain.admin);
    let probed = plain.client.get(&url, DEADLINE).await.expect("a reply");
    assert_eq!(probed.status, 200);
    let url = format!("{}/healthz", plain.api);
    assert!(
        plain.client.get(&url, DEADLINE).await.is_err(),
        "agents' listener"
    );
    let healthz = format!("{}/healthz", agent.admin);
    assert_eq!(
        agent
            .client
            .get(&healthz, DEADLINE)
            .await
            .expect("a reply")
            .status,
        200
    );
}

/// Who does not show a certificate over TLS has no part, but for who has the token.
#[tokio::test]
async fn operators_may_have_a_token_instead() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    fs::write(token.path(), "s3cret\n").expect("it is written");
    let file = text(token.path());
    for mode in ["permissive", "off"] {
        let cluster = Cluster::start(mode, &["--operator-token-file", &file]).await;
        let caller = cluster.plain();
        for path in OPERATORS {
            assert_eq!(caller.get(path).await.0, 401, "{mode} {path}");
        }
        assert_eq!(caller.metrics().await.0, 401);
        let [topology, metrics] = [
            format!("{}{}", caller.api, path::TOPOLOGY),
            format!("{}/metrics", caller.admin),
        ];
        for url in [&topology, &metrics] {
            assert_eq!(caller.with("s3cret", url).await, 200, "{mode} {url}");
            for wrong in ["", "s3cre", "s3cret2", "S3CRET"] {
                assert_eq!(caller.with(wrong, url).await, 401, "{mode} {url} {wrong}");
            }
        }
        // An empty token lets nobody in.
        fs::write(token.path(), "\n").expect("it is written");
        assert_eq!(caller.with("", &topology).await, 401);
        fs::write(token.path(), "s3cret\n").expect("it is written");
        assert_eq!(caller.get("/healthz").await.0, 200);
    }
    // Where TLS is required, nobody is to send a token that can be read on the way.
    let cluster = Cluster::start("required", &["--operator-token-file", &file]).await;
    let metrics = format!("{}/metrics", cluster.plain().admin);
    assert_eq!(cluster.plain().with("s3cret", &metrics).await, 401);
    let agent = cluster.agent("g", "10.0.0.1");
    assert_eq!(agent.with("s3cret", &metrics).await, 200);
    assert_eq!(agent.with("other", &metrics).await, 401);
    let operator = cluster.caller("spiffe://c/piccolo/operator/o", &[]);
    assert_eq!(operator.with("other", &metrics).await, 200);
}

/// While some nodes have certificates and others do not, those without cannot speak for those with.
#[tokio::test]
async fn who_has_shown_a_certificate_is_not_believed_without() {
    let cluster = Cluster::start("permissive", &[]).await;
    let plain = cluster.plain();
    for (path, call) in calls("10.0.0.1:7787", "g") {
        assert!(plain.post(path, &call).await.0 < 300, "{path}");
    }
    let agent = cluster.agent("g", "10.0.0.1");
    assert!(
        agent
            .post(path::KEEPALIVE, &calls("10.0.0.1:7787", "g")[2].1)
            .await
            .0
            < 300
    );
    for (path, call) in calls("10.0.0.1:7787", "g") {
        let (status, reply) = plain.post(path, &call).await;
        assert!(
            status == 403 && reply.contains("has shown a certificate before"),
            "{path}: {status} {reply}"
        );
    }
    // Nodes of other groups may have the same address, and operators may call from it.
    let others = [("10.0.0.2:7787", "g"), ("10.0.0.1:7787", "other")];
    for (path, call) in others
        .iter()
        .flat_map(|(holder, group)| calls(holder, group))
    {
        assert!(plain.post(path, &call).await.0 < 300, "{path}");
    }
    assert_eq!(plain.get(path::TOPOLOGY).await.0, 200);
    drop(cluster.directory);
}

/// The commands by which people look.
#[tokio::test]
async fn the_commands_show_their_certificate() {
    let cluster = Cluster::start("required", &[]).await;
    let operator = cluster
        .authority
        .identify("op", "spiffe://c/piccolo/operator/o", &[]);
    let operator = operator.expect("a certificate");
    let url = format!("http://{}", cluster.server.api);
    let run = async |flags: &[&str]| {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_piccolo-server"));
        program
            .args(["topology", "matrix", "--server", &url])
            .args(flags);
        program.output().await.expect("it runs")
    };
    let files = cluster.authority.flags(&operator);
    let [certificate, key, ca] = files.each_ref().map(String::as_str);
    let flags = ["--tls", "required", certificate, key, ca];
    let shows = run(&flags).await;
    assert!(
        shows.status.success(),
        "{}",
        String::from_utf8_lossy(&shows.stderr)
    );
    assert!(!run(&[]).await.status.success());
}
