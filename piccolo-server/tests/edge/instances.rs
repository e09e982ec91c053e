//! Several instances of which one decides for each key that is being fetched.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use daemon::{client::JsonClient, clock::Clock};
use piccolo_api::path;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    engine::{Database, Engine, on_engines},
    process::Process,
    raw::exchange,
    server::{Server, eventually},
};

on_engines!(
    all: nodes_that_ask_any_instance_get_one_permit_for_a_key;
    servers: instances_decide_together_while_their_database_is_away,
);

/// Longer than an instance that begins, or takes over, sends nobody to the registry.
const HUSH: Duration = Duration::from_millis(3200);
/// Enough that each instance has some, whatever the ports are.
const KEYS: usize = 16;

/// Two instances that know of each other.
struct Pair {
    one: Process,
    two: Process,
}

impl Pair {
    async fn start(database: &str, more: &[&str]) -> Self {
        let one = instance(database, more);
        knows(&one, 1).await;
        let two = instance(database, more);
        let pair = Self { one, two };
        for each in [&pair.one, &pair.two] {
            knows(each, 2).await;
        }
        tokio::time::sleep(HUSH).await;
        pair
    }

    fn each(&self) -> [SocketAddr; 2] {
        [self.one.api, self.two.api]
    }
}

fn instance(database: &str, more: &[&str]) -> Process {
    let flags = ["--database", database, "--instance-address", "127.0.0.1"];
    Process::start(&[&flags, more].concat())
}

async fn ready(instance: &Process) {
    eventually("it is ready", async || {
        instance.admin("/readyz").await.0 == 200
    })
    .await;
    announce(instance.api).await;
}

/// All nodes of these tests announce themselves there.
async fn announce(api: SocketAddr) {
    let calls = (1..=99).map(async |n| {
        let node = format!("10.0.0.{n}:7787");
        let own = json!({"holder": node, "keys": ["its own"], "group": "g"});
        let client = JsonClient::new(Duration::from_secs(2));
        let url = format!("http://{api}{}", path::ADVERTISE);
        // Refused where a holder is bound to the caller's address.
        let reply = client.post(&url, &own, Duration::from_secs(10)).await;
        reply.expect("a reply")
    });
    futures_util::future::join_all(calls).await;
}

/// Waits until an instance counts `count` instances.
async fn knows(instance: &Process, many: usize) {
    ready(instance).await;
    let line = format!("\npiccolo_server_instances {many}\n");
    eventually("the instances know of each other", async || {
        instance.admin("/metrics").await.1.contains(&line)
    })
    .await;
}

async fn passed_on(instance: &Process, outcome: &str) -> u64 {
    let name = format!("piccolo_server_passed_on_total{{outcome=\"{outcome}\"}} ");
    let (_, page) = instance.admin("/metrics").await;
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.expect("it is shown").parse().expect("a number")
}

async fn post(api: SocketAddr, path: &str, call: &Value) -> Value {
    let client = JsonClient::new(Duration::from_secs(2));
    let url = format!("http://{api}{path}");
    let reply = client.post(&url, call, Duration::from_secs(10)).await;
    let reply = reply.expect("a reply");
    assert!(reply.status.is_success(), "{reply:?}");
    reply.json().expect("JSON")
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|n| format!("key-{n}")).collect()
}

fn others() -> Vec<String> {
    (0..KEYS).map(|n| format!("other-{n}")).collect()
}

/// What a node is told that is about to fetch these keys.
async fn join(api: SocketAddr, node: &str, keys: &[String]) -> Vec<Value> {
    let mut reply = post(api, path::FIND, &find(node, keys)).await;
    let results = reply["results"].as_array_mut().expect("results");
    assert_eq!(results.len(), keys.len());
    let turn = |(key, found): (&String, &mut Value)| {
        assert_eq!(found["key"], **key);
        found["swarm"].take()
    };
    keys.iter().zip(results).map(turn).collect()
}

fn find(node: &str, keys: &[String]) -> Value {
    json!({
        "keys": keys, "group": "g", "intent": "fetch", "holder": node,
        "request_host": node.split(':').next(), "fetches": vec![json!({}); keys.len()],
    })
}

async fn join_one(api: SocketAddr, node: &str, key: &str) -> Value {
    join(api, node, &[key.to_owned()]).await.remove(0)
}

/// How a node stands with keys that it takes from the registry.
async fn report(api: SocketAddr, node: &str, keys: &[String], bytes: u64) -> Value {
    let fetches = keys
        .iter()
        .map(|key| json!({"key": key, "bytes": bytes, "permit": true}));
    let call = json!({"holder": node, "group": "g", "fetches": fetches.collect::<Vec<_>>()});
    post(api, path::PROGRESS, &call).await["results"].take()
}

/// The instance that decides for a key that is being fetched, as `api` says.
async fn decider(api: SocketAddr, key: &str) -> Option<SocketAddr> {
    let client = JsonClient::new(Duration::from_secs(2));
    let url = format!("http://{api}{}?key={key}&group=g", path::SWARM);
    let view = client
        .get(&url, Duration::from_secs(10))
        .await
        .expect("a reply");
    let view: Value = view.json().expect("a view");
    let instance = view["instance"].as_str()?;
    Some(instance.parse().expect("an address"))
}

/// Keys that the one and the other decide for, each fetched by the node `first` by a permit.
async fn fetched(pair: &Pair, first: &str) -> [Vec<String>; 2] {
    let keys = keys();
    for turn in join(pair.one.api, first, &keys).await {
        assert_eq!(turn["verdict"], "permit", "{turn}");
    }
    let mut of = [Vec::new(), Vec::new()];
    for key in keys {
        let owner = decider(pair.one.api, &key).await;
        assert_eq!(owner, decider(pair.two.api, &key).await, "they agree");
        let [one, two] = &mut of;
        let list = if owner == Some(pair.one.api) {
            one
        } else {
            two
        };
        list.push(key);
    }
    assert!(
        of.iter().all(|keys| !keys.is_empty()),
        "each has some: {of:?}"
    );
    of
}

async fn nodes_that_ask_any_instance_get_one_permit_for_a_key(engine: Engine) {
    let database = engine.database();
    let pair = Pair::start(&database.url(), &[]).await;
    let first = "10.0.0.1:7787";
    let of = fetched(&pair, first).await;
    let keys = of.concat();
    // Reports by either instance keep the permits for longer than a lease lasts.
    let begin = Instant::now();
    let mut bytes = 0;
    while begin.elapsed() < Duration::from_millis(3600) {
        for api in pair.each() {
            bytes += 1;
            let standing = report(api, first, &keys, bytes).await;
            assert_eq!(standing, json!(vec!["permit"; KEYS]), "{bytes}");
        }
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    // The others chain behind it, whichever instance they ask.
    let mut before = vec![first.to_owned()];
    for n in 2..8_usize {
        let node = format!("10.0.0.{n}:7787");
        let api = pair.each()[n % 2];
        for turn in join(api, &node, &keys).await {
            assert_eq!(turn["verdict"], "take", "{node}: {turn}");
            let source = turn["sources"][0]["addr"].as_str().expect("a source");
            assert!(before.iter().any(|node| node == source), "{node}: {turn}");
        }
        before.push(node);
    }
    for (each, other) in [(&pair.one, &pair.two), (&pair.two, &pair.one)] {
        assert!(passed_on(each, "ok").await > 0);
        assert_eq!(passed_on(each, "failed").await, 0);
        let (_, page) = other.admin("/metrics").await;
        let permits = "piccolo_server_swarm_permits_total{reason=\"turn\"} ";
        assert!(page.contains(permits), "{page}");
    }
    // A node that goes says so to one of them, and the other one has its permits free.
    let leave = json!({"host": first, "Group": "g"});
    post(pair.one.api, path::LEAVE, &leave).await;
    let turn = join_one(pair.two.api, "10.0.0.2:7787", &of[1][0]).await;
    assert_eq!(turn["verdict"], "permit", "{turn}");
    // Who ends says so.
    assert!(pair.two.terminate().success());
    assert_eq!(rows(&database), 1);
}

fn rows(database: &Database) -> usize {
    database.count("instance")
}

async fn instances_decide_together_while_their_database_is_away(engine: Engine) {
    let (mut database, url) = engine.server();
    let pair = Pair::start(&url, &[]).await;
    // The group is known before.
    for api in pair.each() {
        let set = json!({"holder": "10.0.0.1:7787", "keys": [], "group": "g"});
        post(api, path::SYNC, &set).await;
    }
    database.kill();
    // Longer than who is silent is taken for gone.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let first = "10.0.0.1:7787";
    let keys = fetched(&pair, first).await.concat();
    // Where the one waits for the database for too long, the other one has nodes wait.
    eventually("all have a source", async || {
        report(pair.two.api, first, &keys, 1).await;
        let turns = join(pair.two.api, "10.0.0.2:7787", &keys).await;
        let verdicts: Vec<_> = turns.iter().map(|turn| &turn["verdict"]).collect();
        assert!(!verdicts.contains(&&json!("permit")), "{turns:?}");
        verdicts.iter().all(|verdict| *verdict == "take")
    })
    .await;
}

fn sqlite() -> (Database, String) {
    let database = Engine::Sqlite.database();
    let url = database.url();
    (database, url)
}

#[tokio::test]
async fn the_others_go_on_while_an_owner_is_away_and_when_it_is_back() {
    let (_database, url) = sqlite();
    let pair = Pair::start(&url, &[]).await;
    let (first, second, third) = ("10.0.0.1:7787", "10.0.0.2:7787", "10.0.0.3:7787");
    let of = fetched(&pair, first).await;
    let keys = of.concat();
    report(pair.two.api, first, &keys, 1).await;
    let Pair { one, two } = pair;
    drop(two);
    // Nobody else is sent to the registry before the first one is heard of.
    for turn in join(one.api, second, &of[1]).await {
        assert_eq!(turn["verdict"], "wait", "{turn}");
    }
    let standing = report(one.api, first, &keys, 2).await;
    assert_eq!(standing, json!(vec!["permit"; KEYS]));
    for turn in join(one.api, second, &keys).await {
        assert_eq!(turn["sources"][0]["addr"], first, "{turn}");
    }
    // A key of which nobody says anything is fetched, too.
    let new = format!("{}-new", of[1][0]);
    let begin = Instant::now();
    let mut bytes = 2;
    eventually("somebody fetches it", async || {
        bytes += 1;
        report(one.api, first, &keys, bytes).await;
        join_one(one.api, third, &new).await["verdict"] == "permit"
    })
    .await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    let (fourth, others) = ("10.0.0.4:7787", others());
    eventually("others are fetched", async || {
        bytes += 1;
        report(one.api, first, &keys, bytes).await;
        report(one.api, fourth, &others, bytes).await;
        let turns = join(one.api, fourth, &others).await;
        turns.iter().all(|turn| turn["verdict"] == "permit")
    })
    .await;
    // Another instance begins. It sends nobody to the registry, though it does not hear yet who has
    // permits for the keys that are its own now.
    let begin = Instant::now();
    let two = instance(&url, &[]);
    ready(&two).await;
    for _ in 0..4 {
        bytes += 1;
        report(one.api, first, &keys, bytes).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let turns = join(two.api, second, &others).await;
    if begin.elapsed() < Duration::from_millis(2400) {
        for turn in turns {
            assert_ne!(turn["verdict"], "permit", "{turn}");
        }
    }
    // It learns that within a second.
    let mut asked = 4;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(6) {
        for api in [one.api, two.api] {
            bytes += 1;
            asked += 1;
            let standing = report(api, first, &keys, bytes).await;
            assert_eq!(standing, json!(vec!["permit"; KEYS]), "{api}");
            let node = format!("10.0.0.{asked}:7787");
            for turn in join(api, &node, &keys).await {
                assert_ne!(turn["verdict"], "permit", "{node}: {turn}");
            }
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    for turn in join(two.api, "10.0.0.99:7787", &keys).await {
        assert_eq!(turn["verdict"], "take", "{turn}");
    }
    both_decide([one.api, two.api], &keys).await;
}

/// Each of two instances decides for some of the keys.
async fn both_decide(instances: [SocketAddr; 2], keys: &[String]) {
    let mut deciders = Vec::new();
    for key in keys {
        deciders.extend(decider(instances[0], key).await);
    }
    let decides = |instance: &SocketAddr| deciders.contains(instance);
    assert!(instances.iter().all(decides), "{deciders:?}");
}

#[tokio::test]
async fn an_owner_that_hangs_delays_a_find_once_and_for_half_a_second() {
    let (_database, url) = sqlite();
    let pair = Pair::start(&url, &[]).await;
    let of = fetched(&pair, "10.0.0.1:7787").await;
    pair.two.signal(Signal::STOP);
    let mut late = 0;
    for n in 2..12 {
        let begin = Instant::now();
        let node = format!("10.0.0.{n}:7787");
        join(pair.one.api, &node, &of.concat()).await;
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(1500), "{took:?}");
        late += u32::from(took > Duration::from_millis(400));
    }
    assert!((1..=2).contains(&late), "{late}");
    pair.two.signal(Signal::CONT);
    let key = &of[1][0];
    eventually("it is asked again", async || {
        decider(pair.one.api, key).await == Some(pair.two.api)
    })
    .await;
}

#[tokio::test]
async fn a_wrong_clock_does_not_matter() {
    let (_database, url) = sqlite();
    let flags = ["--database", &url, "--instance-address", "127.0.0.1"];
    let now = Duration::from_hours(480_000);
    let one = Server::start_at(&flags, Clock::manual(now)).await;
    let two = Server::start_at(&flags, Clock::manual(now + Duration::from_hours(240))).await;
    // Two looks, and what an instance that begins waits for.
    tokio::time::sleep(Duration::from_secs(2) + HUSH).await;
    for api in [one.api, two.api] {
        announce(api).await;
    }
    let keys = keys();
    for turn in join(one.api, "10.0.0.1:7787", &keys).await {
        assert_eq!(turn["verdict"], "permit", "{turn}");
    }
    for turn in join(two.api, "10.0.0.2:7787", &keys).await {
        assert_eq!(turn["sources"][0]["addr"], "10.0.0.1:7787", "{turn}");
    }
    both_decide([one.api, two.api], &keys).await;
}

#[tokio::test]
async fn an_instance_without_an_address_decides_by_itself() {
    let (database, url) = sqlite();
    let alone = Process::start(&["--database", &url]);
    ready(&alone).await;
    let off = Process::start(&[
        "--database",
        &url,
        "--instance-address",
        "127.0.0.1",
        "--swarm",
        "off",
    ]);
    ready(&off).await;
    let one = instance(&url, &[]);
    knows(&one, 1).await;
    tokio::time::sleep(HUSH).await;
    assert_eq!(rows(&database), 1);
    for api in [alone.api, one.api] {
        let turn = join_one(api, "10.0.0.1:7787", "k").await;
        assert_eq!(turn["verdict"], "permit", "{turn}");
    }
    assert!(join_one(off.api, "10.0.0.1:7787", "k").await.is_null());
    assert_eq!(one.admin("/readyz").await.0, 200);
}

/// Nodes that call from one address lose two permits, whichever instance they ask.
#[tokio::test]
async fn an_address_is_the_same_to_all_instances() {
    let (_database, url) = sqlite();
    let pair = Pair::start(&url, &[]).await;
    let of = fetched(&pair, "10.0.0.1:7787").await;
    let key = &of[1][0];
    // Its permit ends, and those of others that come from here.
    for n in 1..=4 {
        let claim = [key.clone()];
        let told = report(pair.one.api, &format!("10.0.0.{n}:7787"), &claim, 0).await;
        let expected = if n <= 2 { "permit" } else { "lost" };
        assert_eq!(told[0], expected, "{n}");
        tokio::time::sleep(Duration::from_millis(3_200)).await;
    }
}

/// A call with a header more.
pub(crate) fn text(method: &str, path: &str, header: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn nobody_else_passes_calls_on() {
    let (_database, url) = sqlite();
    let one = instance(&url, &["--bind-holder"]);
    ready(&one).await;
    let alone = Process::start(&["--database", &url]);
    ready(&alone).await;
    let node = "10.0.0.1:7787";
    let progress = json!({"holder": node, "group": "g", "fetches": []});
    for (method, path, body) in [
        ("POST", path::FIND.to_owned(), find(node, &keys())),
        ("POST", path::PROGRESS.to_owned(), progress),
        (
            "POST",
            path::LEAVE.to_owned(),
            json!({"host": node, "Group": "g"}),
        ),
        ("GET", format!("{}?key=k&group=g", path::SWARM), Value::Null),
    ] {
        for said in ["1", "0000000000000000", ""] {
            let header = format!("Piccolo-Passed-On: {said}");
            for api in [one.api, alone.api] {
                let reply = exchange(api, &text(method, &path, &header, &body)).await;
                assert!(reply.starts_with("HTTP/1.1 403"), "{path} {said}: {reply}");
            }
        }
    }
}

#[tokio::test]
async fn who_passes_a_call_on_may_speak_for_its_node() {
    let (_database, url) = sqlite();
    let pair = Pair::start(&url, &["--bind-holder"]).await;
    // The node's address is not the instances'.
    let node = "127.0.0.2:7787";
    let call = |path: &str, body: &Value| text("POST", path, "accept: */*", body);
    let keys = keys();
    let own = SocketAddr::from(([127, 0, 0, 2], 0));
    let set = json!({"holder": node, "keys": ["its own"], "group": "g"});
    let reply = exchange_from(own, pair.one.api, &call(path::ADVERTISE, &set)).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    let reply = exchange_from(own, pair.one.api, &call(path::FIND, &find(node, &keys))).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert_eq!(
        reply.matches("\"verdict\":\"permit\"").count(),
        KEYS,
        "{reply}"
    );
    assert_eq!(
        passed_on(&pair.one, "ok").await,
        1,
        "one call for all keys of an instance"
    );
    assert_eq!(passed_on(&pair.one, "failed").await, 0);
    // It may not speak for another one, whichever instance decides.
    let foreign = find("10.0.0.1:7787", &keys);
    let reply = exchange_from(own, pair.one.api, &call(path::FIND, &foreign)).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert_eq!(passed_on(&pair.one, "ok").await, 1);
}

pub(crate) async fn exchange_from(own: SocketAddr, api: SocketAddr, text: &str) -> String {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(own).expect("an address");
    let mut stream = socket.connect(api).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("it is sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("a reply");
    reply
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for (address, says) in [
        ("host", "is no address of an instance"),
        ("0.0.0.0", "is no address of one host"),
        ("10.0.0.1:0", "no instance is reached at port 0"),
    ] {
        let output = crate::process::program(&["--instance-address", address])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{said}");
    }
}

/// What the nodes are told of a tag by one of the instances.
async fn tag(api: SocketAddr, node: &str, tag: &str, said: Option<Value>) -> Value {
    let mut call = json!({"holder": node, "group": "g", "tag": tag, "max_age_ms": 60_000});
    if let Some(said) = said {
        call["said"] = said;
    }
    post(api, path::TAG, &call).await
}

#[tokio::test]
async fn nodes_that_ask_any_instance_hear_one_word_for_a_tag() {
    let (_database, url) = sqlite();
    let pair = Pair::start(&url, &[]).await;
    let (first, second) = ("10.0.0.1:7787", "10.0.0.2:7787");
    for node in [first, second] {
        let set = json!({"holder": node, "keys": ["k"], "group": "g"});
        post(pair.one.api, path::SYNC, &set).await;
    }
    eventually("both know the nodes", async || {
        let told = tag(pair.two.api, second, "registry.test/first:v0", None).await;
        told["verdict"] != "alone"
    })
    .await;
    let tags = (0..KEYS).map(|n| format!("registry.test/lib/app:v{n}"));
    let tags: Vec<_> = tags.collect();
    for (n, name) in tags.iter().enumerate() {
        let [one, two] = pair.each();
        let [here, there] = if n % 2 == 0 { [one, two] } else { [two, one] };
        assert_eq!(tag(here, first, name, None).await["verdict"], "ask");
        assert_eq!(tag(there, second, name, None).await["verdict"], "wait");
        let word = json!({"word": "digest", "digest": format!("sha256:{n:064}")});
        tag(there, first, name, Some(word.clone())).await;
        for api in [one, two] {
            let known = tag(api, second, name, None).await;
            assert_eq!(known["digest"], word["digest"], "{known}");
        }
    }
    assert!(passed_on(&pair.one, "ok").await > 0 && passed_on(&pair.two, "ok").await > 0);
    // Where the one that knows a tag is away, a node asks the registry again.
    let Pair { one, two } = pair;
    drop(two);
    for name in &tags {
        let told = tag(one.api, second, name, None).await;
        assert!(
            told["verdict"] == "known" || told["verdict"] == "ask",
            "{told}"
        );
    }
}
