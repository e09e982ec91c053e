//! Tags: the registry's word while it can be reached, and the best other one while it cannot.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use parking_lot::Mutex;
use pi_agent::{
    digest::Digest,
    hosts::after::HostFiles,
    policy::Policy,
    reach::Reach,
    reference::TagName,
    tags::{Settings, Tags},
};
use piccolo_api::{RegistryWord, TagReply, TagRequest, TagTarget};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::Instant};

use crate::{
    Agent,
    fake::{Behaviour, Call, FakeServer},
    holder,
};

/// What a registry, or a peer, says of its one tag.
#[derive(Debug, Clone)]
enum Says {
    Digest(Digest),
    Status(u16),
    /// The digest to those with a token, which is had at the address.
    ToTokens(Digest, String),
}

#[derive(Debug, Clone)]
struct FakeRegistry(Arc<Mutex<(Says, usize)>>);

impl FakeRegistry {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's runtime ends with the test"
    )]
    async fn start(says: Says) -> (Self, String) {
        let registry = Self(Arc::new(Mutex::new((says, 0))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let router = Router::new()
            .route("/v2/lib/app/manifests/v1", get(answer))
            .route("/v2/secret/app/manifests/v1", get(answer))
            .route("/token", get(token))
            .with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (registry, addr)
    }

    fn says(&self, says: Says) {
        self.0.lock().0 = says;
    }

    fn asked(&self) -> usize {
        self.0.lock().1
    }
}

async fn answer(
    State(registry): State<FakeRegistry>,
    headers: HeaderMap,
) -> (StatusCode, [(&'static str, String); 1]) {
    let mut state = registry.0.lock();
    state.1 += 1;
    let digest = |digest: &Digest| (200, "Docker-Content-Digest", digest.to_string());
    let (status, name, value) = match &state.0 {
        Says::Digest(d) => digest(d),
        Says::Status(status) => (*status, "x", String::new()),
        Says::ToTokens(d, _)
            if headers
                .get("authorization")
                .is_some_and(|a| a == "Bearer t0") =>
        {
            digest(d)
        }
        Says::ToTokens(_, addr) => {
            let scope = "repository:lib/app:pull";
            let wanted = format!("Bearer realm=\"http://{addr}/token\",scope=\"{scope}\"");
            (401, "WWW-Authenticate", wanted)
        }
    };
    (StatusCode::from_u16(status).unwrap(), [(name, value)])
}

async fn token(RawQuery(query): RawQuery) -> (StatusCode, &'static str) {
    if query.as_deref() == Some("scope=repository%3Alib/app%3Apull") {
        (StatusCode::OK, r#"{"token":"t0","expires_in":300}"#)
    } else {
        (StatusCode::FORBIDDEN, "{}")
    }
}

fn digest(c: char) -> Digest {
    let hex = c.to_string().repeat(64);
    format!("sha256:{hex}").parse().unwrap()
}

fn name() -> TagName {
    TagName {
        registry: "registry.test".to_owned(),
        repository: "lib/app".to_owned(),
        tag: "v1".to_owned(),
    }
}

/// Tags of `registry.test`, which the agent is told to ask at `addr`.
fn tags(addr: &str, ttl: Duration, agent: &Agent) -> Tagged {
    Tagged::new(HOSTS, Some(addr), ttl, agent)
}

/// The same where containerd's file says who is asked after the agent.
fn tags_behind(hosts: &str, agent: &Agent) -> Tagged {
    Tagged::new(&format!("{hosts}\n{HOSTS}"), None, Duration::ZERO, agent)
}

/// What resolves tags, and the files that it reads.
struct Tagged {
    tags: Tags,
    _files: TempDir,
}

/// The agent alone.
const HOSTS: &str = "[host.\"http://127.0.0.1:288\"]\n";

impl Tagged {
    fn new(hosts: &str, told: Option<&str>, ttl: Duration, agent: &Agent) -> Self {
        let reach = Reach::new([127, 0, 0, 1].into(), Vec::new());
        Self::within((reach, None), hosts, told, ttl, agent)
    }

    fn within(
        (reach, shared): (Reach, Option<Policy>),
        hosts: &str,
        told: Option<&str>,
        ttl: Duration,
        agent: &Agent,
    ) -> Self {
        let files = tempfile::tempdir().unwrap();
        let registry = files.path().join("_default");
        if !hosts.is_empty() {
            std::fs::create_dir(&registry).unwrap();
            std::fs::write(registry.join("hosts.toml"), hosts).unwrap();
        }
        let policy = Policy::new(Vec::new(), vec!["registry.test/secret/*".parse().unwrap()]);
        let told = told.map(|addr| format!("registry.test=http://{addr}").parse().unwrap());
        let tags = Tags::new(Settings {
            ttl,
            files: HostFiles {
                hosts_dir: files.path().to_owned(),
                containerd_config: files.path().join("none"),
                release: None,
                mirror_url: "http://127.0.0.1:288".to_owned(),
            },
            registries: told.into_iter().collect(),
            authorities: None,
            policy,
            discovery: agent.discovery.clone(),
            reach,
            shared,
        });
        Self {
            tags,
            _files: files,
        }
    }

    async fn resolve(&self, name: &TagName, own: Option<Digest>) -> Option<Digest> {
        self.tags.resolve(name, own).await
    }
}

/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

#[tokio::test]
async fn the_registry_is_asked_again_after_the_ttl() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let agent = Agent::new(&[]);
    let long = tags(&addr, Duration::from_mins(1), &agent);
    // This node has another one: the tag has moved.
    for _ in 0..3 {
        let resolved = long.resolve(&name(), Some(digest('0'))).await;
        assert_eq!(resolved, Some(digest('a')));
    }
    assert_eq!(registry.asked(), 1, "its word is good for the TTL");
    let short = tags(&addr, Duration::ZERO, &agent);
    assert_eq!(short.resolve(&name(), None).await, Some(digest('a')));
    registry.says(Says::Digest(digest('b')));
    assert_eq!(short.resolve(&name(), None).await, Some(digest('b')));
}

#[tokio::test]
async fn an_answer_that_does_not_help_leaves_the_tag_to_containerd() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let agent = Agent::new(&[]);
    let tags = tags(&addr, Duration::ZERO, &agent);
    assert!(tags.resolve(&name(), None).await.is_some());
    for status in [401, 403, 404, 400, 302, 429] {
        registry.says(Says::Status(status));
        let own = Some(digest('0'));
        assert_eq!(tags.resolve(&name(), own).await, None, "{status}");
    }
}

#[tokio::test]
async fn without_the_registry_the_last_word_counts_then_this_nodes() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let agent = Agent::new(&[]);
    let known = tags(&addr, Duration::ZERO, &agent);
    assert!(known.resolve(&name(), None).await.is_some());
    registry.says(Says::Status(503));
    let own = || Some(digest('0'));
    assert_eq!(known.resolve(&name(), own()).await, Some(digest('a')));
    let asked = registry.asked();
    assert_eq!(known.resolve(&name(), own()).await, Some(digest('a')));
    assert_eq!(registry.asked(), asked, "it is left alone for a while");
    let fresh = tags(DEAD, Duration::ZERO, &agent);
    assert_eq!(fresh.resolve(&name(), own()).await, own());
    assert_eq!(fresh.resolve(&name(), None).await, None);
}

#[tokio::test]
async fn without_the_registry_a_peer_says_what_a_tag_stands_for() {
    let (_peer, addr) = FakeRegistry::start(Says::Digest(digest('c'))).await;
    let behaviour = Behaviour {
        holders: vec!["127.0.0.2:1".to_owned(), addr],
        ..Behaviour::default()
    };
    let (_server, url) = FakeServer::start(behaviour).await;
    let agent = Agent::new(&[&url]);
    let found = tags(DEAD, Duration::ZERO, &agent);
    assert_eq!(found.resolve(&name(), None).await, Some(digest('c')));
    // Of a node whose peers are on other hosts.
    let reach = Reach::new([10, 0, 0, 9].into(), Vec::new());
    let elsewhere = Tagged::within((reach, None), HOSTS, Some(DEAD), Duration::ZERO, &agent);
    assert_eq!(elsewhere.resolve(&name(), None).await, None);
}

/// As a proxy cache does, and in a network without a way out: this agent cannot ask the registry itself.
#[tokio::test]
async fn a_tag_moves_where_only_the_next_host_knows() {
    let (next, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let agent = Agent::new(&[]);
    let host = |more: &str| format!("{HOSTS}[host.\"http://{addr}\"]\n{more}");
    let files = |hosts: &str| {
        let hosts = format!("server = \"http://{DEAD}\"\n{hosts}");
        Tagged::new(&hosts, None, Duration::ZERO, &agent)
    };
    let tags = files(&host(""));
    let own = || Some(digest('0'));
    for word in ['a', 'b'] {
        next.says(Says::Digest(digest(word)));
        assert_eq!(tags.resolve(&name(), own()).await, Some(digest(word)));
    }
    // It is away, and the registry, which was never reached from here, need not be.
    next.says(Says::Status(503));
    assert_eq!(tags.resolve(&name(), own()).await, None);
    // Who is asked for content only does not know tags.
    next.says(Says::Digest(digest('a')));
    let pulls = files(&host("capabilities = [\"pull\"]\n"));
    let asked = next.asked();
    assert_eq!(pulls.resolve(&name(), own()).await, None);
    assert_eq!(next.asked(), asked);
}

/// After an update, until the file is renewed, or for good where its operator writes it.
#[tokio::test]
async fn a_file_that_names_the_former_port_says_whom_to_ask_as_well() {
    let (_registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let agent = Agent::new(&[]);
    let hosts = format!("server = \"http://{addr}\"\n[host.\"http://127.0.0.1:7788\"]\n");
    let tags = Tagged::new(&hosts, None, Duration::ZERO, &agent);
    assert_eq!(tags.resolve(&name(), None).await, Some(digest('a')));
}

#[tokio::test]
async fn who_was_never_reached_is_not_away() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let agent = Agent::new(&[]);
    let own = || Some(digest('0'));
    let unreached = tags_behind(&format!("server = \"http://{DEAD}\""), &agent);
    for _ in 0..2 {
        assert_eq!(unreached.resolve(&name(), own()).await, None);
    }
    let server = format!("server = \"http://{addr}\"");
    let reached = tags_behind(&server, &agent);
    assert_eq!(reached.resolve(&name(), own()).await, Some(digest('a')));
    registry.says(Says::Status(502));
    for _ in 0..2 {
        assert_eq!(reached.resolve(&name(), own()).await, Some(digest('a')));
    }
    // Whom containerd asks next is not known where no file names the agent.
    let blind = Tagged::new("", Some(DEAD), Duration::ZERO, &agent);
    assert_eq!(blind.resolve(&name(), own()).await, None);
}

#[tokio::test]
async fn a_public_repository_gives_a_token_to_anybody() {
    let (registry, addr) = FakeRegistry::start(Says::Status(401)).await;
    let agent = Agent::new(&[]);
    let tags = tags(&addr, Duration::ZERO, &agent);
    assert_eq!(tags.resolve(&name(), None).await, None);
    registry.says(Says::ToTokens(digest('d'), addr.clone()));
    assert_eq!(tags.resolve(&name(), None).await, Some(digest('d')));
    // The registry is there, and containerd may have a token.
    registry.says(Says::ToTokens(digest('d'), DEAD.to_owned()));
    assert_eq!(tags.resolve(&name(), Some(digest('0'))).await, None);
}

#[tokio::test]
async fn no_token_is_fetched_from_this_node_for_another_host() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('e'))).await;
    let agent = Agent::new(&[]);
    let port = addr.rsplit_once(':').unwrap().1;
    // Each of them leads to where the token is.
    for host in ["localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        registry.says(Says::ToTokens(digest('e'), format!("{host}:{port}")));
        let tags = tags(&addr, Duration::ZERO, &agent);
        assert_eq!(tags.resolve(&name(), None).await, None, "{host}");
    }
    registry.says(Says::ToTokens(digest('e'), addr.clone()));
    let tags = tags(&addr, Duration::ZERO, &agent);
    assert_eq!(tags.resolve(&name(), None).await, Some(digest('e')));
}

/// However the registry's name is written: its tags are the registry's word or nothing, and its name goes to nobody.
#[tokio::test]
async fn of_what_is_not_shared_only_the_registry_is_asked() {
    let (registry, addr) = FakeRegistry::start(Says::Status(401)).await;
    let (peer, holder) = FakeRegistry::start(Says::Digest(digest('c'))).await;
    let behaviour = Behaviour {
        holders: vec![holder],
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(behaviour).await;
    let agent = Agent::new(&[&url]);
    for written in [
        "registry.test",
        "REGISTRY.test",
        "Registry.Test:443",
        "registry.test.",
    ] {
        let secret = TagName {
            registry: written.to_owned(),
            repository: "secret/app".to_owned(),
            tag: "v1".to_owned(),
        };
        // It wants credentials, as such repositories do, and then it is away.
        let tags = tags(&addr, Duration::ZERO, &agent);
        for status in [401, 503] {
            registry.says(Says::Status(status));
            assert_eq!(
                tags.resolve(&secret, None).await,
                None,
                "{written} {status}"
            );
        }
    }
    assert_eq!((peer.asked(), registry.asked()), (0, 8));
    assert!(server.calls().is_empty(), "{:?}", server.calls());
    let tags = tags(&addr, Duration::ZERO, &agent);
    assert_eq!(tags.resolve(&name(), None).await, Some(digest('c')));
}

#[tokio::test]
async fn no_token_is_fetched_for_a_peer() {
    let (peer, addr) = FakeRegistry::start(Says::Digest(digest('c'))).await;
    peer.says(Says::ToTokens(digest('c'), addr.clone()));
    let behaviour = Behaviour {
        holders: vec![addr],
        ..Behaviour::default()
    };
    let (_server, url) = FakeServer::start(behaviour).await;
    let agent = Agent::new(&[&url]);
    let tags = tags(DEAD, Duration::ZERO, &agent);
    assert_eq!(tags.resolve(&name(), None).await, None);
    assert_eq!(peer.asked(), 1);
}

/// Tags of a node that resolves them together with others, but for what is denied.
fn shared(addr: &str, agent: &Agent, deny: &[&str]) -> Tagged {
    let deny = deny.iter().map(|pattern| pattern.parse().unwrap());
    let shared = Policy::new(Vec::new(), deny.collect());
    let reach = Reach::new([127, 0, 0, 1].into(), Vec::new());
    let ttl = Duration::from_mins(1);
    Tagged::within((reach, Some(shared)), HOSTS, Some(addr), ttl, agent)
}

/// A server that says this of tags, and an agent that asks it.
async fn led(tags: Vec<TagReply>) -> (FakeServer, Agent) {
    let behaviour = Behaviour {
        tags,
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(behaviour).await;
    (server, Agent::new(&[&url]))
}

fn known(c: char, age_ms: u64) -> TagReply {
    TagReply::Known {
        target: TagTarget {
            digest: digest(c).to_string(),
            size: None,
            media_type: None,
        },
        age_ms,
        by: holder("10.0.0.2:7787"),
    }
}

fn wait() -> TagReply {
    TagReply::Wait { wait_ms: 20 }
}

/// What the server was told or asked about tags.
fn about_tags(server: &FakeServer) -> Vec<TagRequest> {
    let calls = server.calls().into_iter();
    let tags = calls.filter_map(|call| match call {
        Call::Tag(request) => Some(request),
        _ => None,
    });
    tags.collect()
}

#[tokio::test]
async fn what_another_node_heard_of_the_registry_is_taken_for_the_rest_of_the_ttl() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('b'))).await;
    let (server, agent) = led(vec![wait(), wait(), known('a', 59_400)]).await;
    let tags = shared(&addr, &agent, &[]);
    for _ in 0..3 {
        assert_eq!(tags.resolve(&name(), None).await, Some(digest('a')));
    }
    assert_eq!(registry.asked(), 0);
    let calls = about_tags(&server);
    assert_eq!(calls.len(), 3, "it waits as it is told: {calls:?}");
    assert_eq!(calls[0].tag, "registry.test/lib/app:v1");
    assert_eq!((calls[0].max_age_ms, &calls[0].said), (60_000, &None));
    // The word was 59.4 s old, so it is good for less than a second.
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.behaviour.lock().tags = vec![TagReply::Ask];
    assert_eq!(tags.resolve(&name(), None).await, Some(digest('b')));
}

#[tokio::test]
async fn the_node_that_is_to_ask_tells_what_it_heard() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let (server, agent) = led(vec![TagReply::Ask]).await;
    let tags = shared(&addr, &agent, &[]);
    // Several requests of one node at once are one.
    let name = name();
    let (one, two) = tokio::join!(tags.resolve(&name, None), tags.resolve(&name, None));
    assert_eq!((one, two), (Some(digest('a')), Some(digest('a'))));
    assert_eq!((registry.asked(), about_tags(&server).len()), (1, 2));
    let said = about_tags(&server).remove(1).said;
    let Some(RegistryWord::Digest(target)) = said else {
        panic!("{said:?}");
    };
    assert_eq!(target.digest, digest('a').to_string());
    for (says, word) in [
        (Says::Status(401), RegistryWord::Refused),
        (Says::Status(404), RegistryWord::Refused),
        (Says::Status(503), RegistryWord::Nothing),
    ] {
        registry.says(says);
        let (server, agent) = led(vec![TagReply::Ask]).await;
        let tags = shared(&addr, &agent, &[]);
        assert_eq!(tags.resolve(&name, None).await, None);
        assert_eq!(about_tags(&server).remove(1).said, Some(word));
    }
}

#[tokio::test]
async fn what_the_registry_refused_another_node_is_left_to_containerd() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('a'))).await;
    let (_server, agent) = led(vec![TagReply::Refused]).await;
    let tags = shared(&addr, &agent, &[]);
    let own = Some(digest('0'));
    assert_eq!(tags.resolve(&name(), own).await, None);
    assert_eq!(registry.asked(), 0);
}

#[tokio::test]
async fn what_is_denied_is_asked_for_by_each_node() {
    let (registry, addr) = FakeRegistry::start(Says::Digest(digest('b'))).await;
    let (server, agent) = led(vec![known('a', 0)]).await;
    let tags = shared(&addr, &agent, &["registry.test/lib/*"]);
    assert_eq!(tags.resolve(&name(), None).await, Some(digest('b')));
    assert_eq!(registry.asked(), 1);
    assert_eq!(about_tags(&server), [], "the server does not hear of it");
}

/// Whatever the server does, the registry's word is there in the end.
#[tokio::test]
async fn without_help_from_the_server_the_registry_is_asked() {
    let (_registry, addr) = FakeRegistry::start(Says::Digest(digest('b'))).await;
    let unreadable = TagReply::Known {
        target: TagTarget {
            digest: "none".to_owned(),
            size: None,
            media_type: None,
        },
        age_ms: 0,
        by: holder("10.0.0.2:7787"),
    };
    // An older server, a Go server, one that is away, and such as lead nowhere.
    let go = Behaviour {
        go: true,
        ..Behaviour::default()
    };
    let (_go, go) = FakeServer::start(go).await;
    let mut agents = vec![Agent::new(&[&go]), Agent::new(&["http://127.0.0.1:1"])];
    for tags in [
        vec![],
        vec![TagReply::Alone],
        vec![unreadable],
        vec![wait()],
    ] {
        agents.push(led(tags).await.1);
    }
    for agent in agents {
        let tags = shared(&addr, &agent, &[]);
        let begin = Instant::now();
        assert_eq!(tags.resolve(&name(), None).await, Some(digest('b')));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
