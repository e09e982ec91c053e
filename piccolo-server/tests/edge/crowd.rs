//! Nodes that fetch the same key at the same time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use piccolo_api::path;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    instances::{exchange_from, text},
    server::Server,
};

/// Longer than the no-permit period after a start.
const HUSH: Duration = Duration::from_millis(1600);

async fn start() -> (Server, TempDir) {
    start_with(&[]).await
}

async fn start_with(arguments: &[&str]) -> (Server, TempDir) {
    let state = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", state.path().join("db").display());
    let arguments = [&["--database", &database], arguments].concat();
    (Server::start(&arguments).await, state)
}

/// What a node is answered that has announced itself and is about to fetch a key.
async fn join(server: &Server, holder: &str, fetch: Value) -> Value {
    server.advertise(holder, &["its own"]).await;
    join_as_it_is(server, holder, fetch).await
}

/// The same of a node that may not have announced itself.
async fn join_as_it_is(server: &Server, holder: &str, fetch: Value) -> Value {
    let call = json!({
        "keys": ["k"], "group": "g", "intent": "fetch", "holder": holder,
        "request_host": holder.split(':').next(), "fetches": [fetch],
    });
    let (status, mut reply) = server.post(path::FIND, &call).await;
    assert_eq!(status, 200, "{reply}");
    reply["results"][0].take()
}

async fn tell(server: &Server, holder: &str, fetch: Value) -> Value {
    server.advertise(holder, &["its own"]).await;
    tell_as_it_is(server, holder, fetch).await
}

async fn tell_as_it_is(server: &Server, holder: &str, fetch: Value) -> Value {
    let call = json!({"holder": holder, "group": "g", "fetches": [fetch]});
    let (status, reply) = server.post(path::PROGRESS, &call).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

fn source(found: &Value) -> &Value {
    &found["swarm"]["sources"][0]["addr"]
}

#[tokio::test]
async fn one_node_is_sent_to_the_registry_and_the_next_to_that_node() {
    let (server, _state) = start().await;
    tokio::time::sleep(HUSH).await;
    let first = join(&server, "10.0.0.1:7787", json!({})).await;
    assert_eq!(first["swarm"]["verdict"], "permit", "{first}");
    let told = json!({"key": "k", "bytes": 1, "permit": true, "rank": first["swarm"]["rank"]});
    let told = tell(&server, "10.0.0.1:7787", told).await;
    assert_eq!(told, json!({"results": ["permit"]}));
    let next = join(&server, "10.0.0.2:7787", json!({})).await;
    assert_eq!(source(&next), "10.0.0.1:7787", "{next}");
}

#[tokio::test]
async fn nobody_takes_from_a_node_that_says_that_it_is_slow() {
    let (server, _state) = start().await;
    tokio::time::sleep(HUSH).await;
    let [first, slow, third, fourth] = [1, 2, 3, 4].map(|n| format!("10.0.0.{n}:7787"));
    let permitted = join(&server, &first, json!({})).await;
    let told = json!({"key": "k", "bytes": 9, "permit": true, "rank": permitted["swarm"]["rank"]});
    tell(&server, &first, told).await;
    join(&server, &slow, json!({})).await;
    let behind = join(&server, &third, json!({})).await;
    assert_eq!(source(&behind), &json!(slow), "{behind}");
    let seen = format!("{}?key=k&group=g&node={slow}", path::SWARM);
    // What an older agent says, and one that says something else, changes nothing.
    for told in [json!({}), json!({"slow": false})] {
        let mut told = told;
        told["key"] = json!("k");
        told["bytes"] = json!(1);
        tell(&server, &slow, told).await;
        let (_, view) = server.get(&seen).await;
        assert_eq!(view["slow"], json!(0), "{view}");
    }
    for _ in 0..2 {
        let told = json!({"key": "k", "bytes": 1, "slow": true});
        let told = tell(&server, &slow, told).await;
        assert_eq!(told, json!({"results": ["noted"]}));
    }
    let gave_up = json!({"source": slow, "fault": "empty"});
    let again = join(&server, &third, json!({"offset": 1, "tried": [gave_up]})).await;
    assert_eq!(source(&again), &json!(first), "{again}");
    let next = join(&server, &fourth, json!({})).await;
    assert_eq!(source(&next), &json!(third), "{next}");
    let (_, view) = server.get(&seen).await;
    assert_eq!(
        (&view["slow"], &view["path"][0]["slow"]),
        (&json!(1), &json!(true)),
        "{view}"
    );
    // Who fetches from the registry goes on, whatever it says.
    let told = json!({"key": "k", "bytes": 10, "permit": true, "slow": true});
    let told = tell(&server, &first, told).await;
    assert_eq!(told, json!({"results": ["permit"]}));
}

/// Whom the gateway of a rack is told to take from that says this, while two nodes of another rack have
/// bytes; and whether it may ask for more.
async fn gateways_sources(arguments: &[&str], fetch: Value) -> (Value, bool) {
    let (server, _state) = start_with(arguments).await;
    tokio::time::sleep(HUSH).await;
    let first = join(&server, "10.0.0.1:7787", json!({})).await;
    let told = json!({"key": "k", "bytes": 1, "permit": true, "rank": first["swarm"]["rank"]});
    tell(&server, "10.0.0.1:7787", told).await;
    let second = join(&server, "10.0.0.2:7787", json!({})).await;
    let told = json!({"key": "k", "bytes": 1, "rank": second["swarm"]["rank"]});
    tell(&server, "10.0.0.2:7787", told).await;
    let mut gateway = join(&server, "10.0.1.1:7787", fetch).await;
    let sources = gateway["swarm"]["sources"].as_array().cloned();
    let sources = sources.unwrap_or_default().into_iter();
    let addrs: Value = sources.map(|mut source| source["addr"].take()).collect();
    (addrs, !gateway["swarm"]["again_ms"].take().is_null())
}

#[tokio::test]
async fn a_gateway_takes_from_as_many_nodes_as_it_can_and_the_server_wants() {
    let two = &["--swarm-stripes", "2"];
    let one = json!(["10.0.0.1:7787"]);
    let both = json!(["10.0.0.1:7787", "10.0.0.2:7787"]);
    let of = async |arguments, fetch| gateways_sources(arguments, fetch).await;
    assert_eq!(of(two, json!({"sources": 8})).await, (both, false));
    // An older agent, and one that says something else, take from one.
    assert_eq!(of(two, json!({})).await, (one.clone(), false));
    assert_eq!(
        of(two, json!({"sources": "two"})).await,
        (one.clone(), false)
    );
    assert_eq!(of(two, json!({"sources": 0})).await, (one.clone(), false));
    // Where fewer nodes have bytes than it may take from it asks again.
    let three = &["--swarm-stripes", "3"];
    let (sources, again) = of(three, json!({"sources": 8})).await;
    assert!(
        again && sources.as_array().map(Vec::len) == Some(2),
        "{sources}"
    );
    assert_eq!(of(&[], json!({"sources": 8})).await, (one, false));
}

#[tokio::test]
async fn who_waits_is_answered_without_its_holders_being_looked_up_again() {
    let (server, _state) = start().await;
    let waiting = json!({"waiting": true});
    let holder = "10.0.9.9:7787";
    // The server has just begun, and hears first who holds permits.
    let first = join(&server, "10.0.0.1:7787", json!({})).await;
    assert_eq!(first["swarm"]["verdict"], "wait", "{first}");
    server.advertise(holder, &["k"]).await;
    let again = join(&server, "10.0.0.1:7787", waiting.clone()).await;
    assert_eq!(again["swarm"]["verdict"], "wait", "{again}");
    assert_eq!(again["peers"], json!([]));
    // One of whom nothing is known is looked up for, whatever it says.
    let stranger = join(&server, "10.0.0.2:7787", waiting).await;
    assert_eq!(stranger["peers"][0]["addr"], holder, "{stranger}");
    let later = join(&server, "10.0.0.1:7787", json!({})).await;
    assert_eq!(later["peers"][0]["addr"], holder, "{later}");
}

#[tokio::test]
async fn a_node_that_has_removed_a_key_feeds_nobody() {
    let (server, _state) = start().await;
    let (first, second) = ("10.0.0.1:7787", "10.0.0.2:7787");
    let done = json!({"key": "k", "bytes": 9, "end": "complete"});
    tell(&server, first, done).await;
    server.advertise(first, &["k"]).await;
    let next = join(&server, second, json!({})).await;
    assert_eq!(source(&next), first, "{next}");
    let removed = json!({"holder": first, "group": "g", "keys": [], "removed": ["k"]});
    let (status, reply) = server.post(path::ADVERTISE, &removed).await;
    assert_eq!(status, 201, "{reply}");
    tokio::time::sleep(HUSH).await;
    let later = join(&server, second, json!({"waiting": true})).await;
    assert_eq!(later["swarm"]["verdict"], "permit", "{later}");
}

#[tokio::test]
async fn a_server_that_has_just_begun_learns_from_reports() {
    let (server, _state) = start().await;
    let done = json!({"key": "k", "bytes": 9, "end": "complete"});
    tell(&server, "10.0.0.1:7787", done).await;
    let next = join(&server, "10.0.0.2:7787", json!({})).await;
    assert_eq!(source(&next), "10.0.0.1:7787", "{next}");
}

/// Invented nodes get no permit, feed nobody, and are not remembered.
#[tokio::test]
async fn who_has_not_announced_itself_has_no_part_in_a_crowd() {
    let (server, _state) = start().await;
    tokio::time::sleep(HUSH).await;
    let invented = |n: u32| format!("10.0.{}.{}:7787", n / 200, n % 200 + 1);
    for n in 0..400 {
        let own = invented(n);
        let turn = join_as_it_is(&server, &own, json!({})).await["swarm"].take();
        assert_eq!(
            (&turn["verdict"], &turn["wait_ms"]),
            (&json!("wait"), &json!(500))
        );
        let claims = [
            json!({"key": "k", "bytes": 1, "permit": true}),
            json!({"key": "k", "bytes": 9, "end": "complete"}),
        ];
        for claim in claims {
            let told = tell_as_it_is(&server, &own, claim).await;
            assert_eq!(told, json!({"results": ["noted"]}));
        }
    }
    // After eight seconds it is left to itself.
    let late = join_as_it_is(&server, &invented(1), json!({"waited_ms": 8000})).await;
    assert_eq!(late["swarm"], Value::Null, "{late}");
    // The crowd has not heard of them.
    let first = join(&server, "10.1.0.1:7787", json!({})).await;
    assert_eq!(first["swarm"]["verdict"], "permit", "{first}");
    let seen = format!("{}?key=k&group=g", path::SWARM);
    let (_, view) = server.get(&seen).await;
    let counts = (&view["permitted"], &view["fetching"]);
    assert_eq!(counts, (&json!(1), &json!(1)), "{view}");
    // One that has announced itself meanwhile takes part.
    let next = join(&server, &invented(1), json!({})).await;
    assert_eq!(next["swarm"]["verdict"], "wait", "{next}");
    // Who has the key whole is named to one that has not, too.
    server.advertise("10.1.0.9:7787", &["k"]).await;
    let served = join_as_it_is(&server, &invented(2), json!({})).await;
    assert_eq!(served["peers"][0]["addr"], "10.1.0.9:7787", "{served}");
    assert_eq!(served["swarm"], Value::Null, "{served}");
}

/// One address announces many nodes, each of which takes the permit and does nothing.
#[tokio::test]
async fn an_address_whose_nodes_lost_two_permits_gets_no_third() {
    let (server, _state) = start().await;
    let honest = "10.9.0.1:7787";
    // The test calls from one address; the honest node calls from its own.
    let own = SocketAddr::from(([127, 0, 0, 2], 0));
    let set = json!({"holder": honest, "keys": ["its own"], "group": "g"});
    let call = text("POST", path::ADVERTISE, "accept: */*", &set);
    let reply = exchange_from(own, server.api, &call).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    tokio::time::sleep(HUSH).await;
    let mut permitted = Vec::new();
    let begun = Instant::now();
    let mut sources: HashMap<u32, (Value, Instant)> = HashMap::new();
    // Each permit ends after three seconds, and a node gives its source up after two.
    while begun.elapsed() < Duration::from_secs(9) {
        for n in 1..=9 {
            let gave_up = sources
                .get(&n)
                .filter(|(_, since)| since.elapsed() > Duration::from_secs(2));
            let tried = gave_up.map(|(source, _)| json!({"source": source, "fault": "empty"}));
            let fetch = json!({"tried": tried.as_slice()});
            let found = join(&server, &format!("10.0.0.{n}:7787"), fetch).await;
            if found["swarm"]["verdict"] == "permit" && !permitted.contains(&n) {
                permitted.push(n);
            }
            let now = (source(&found).clone(), Instant::now());
            if tried.is_some() || now.0.is_null() {
                sources.remove(&n);
            }
            if !now.0.is_null() {
                sources.entry(n).or_insert(now);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(permitted.len(), 2, "{permitted:?}");
    let fetch = json!({
        "keys": ["k"], "group": "g", "intent": "fetch", "holder": honest, "fetches": [{}],
    });
    let call = text("POST", path::FIND, "accept: */*", &fetch);
    let reply = exchange_from(own, server.api, &call).await;
    assert!(reply.contains("\"verdict\":\"permit\""), "{reply}");
}

/// The same by nodes that say that they have a permit.
#[tokio::test]
async fn a_third_permit_that_an_addresss_nodes_claim_is_not_believed() {
    let (server, _state) = start().await;
    tokio::time::sleep(HUSH).await;
    let mut believed = 0;
    for n in 1..=4 {
        let claim = json!({"key": "k", "bytes": 0, "permit": true});
        let told = tell(&server, &format!("10.0.0.{n}:7787"), claim).await;
        believed += u32::from(told == json!({"results": ["permit"]}));
        tokio::time::sleep(Duration::from_millis(3_200)).await;
    }
    assert_eq!(believed, 2);
}

/// An agent that has just begun announces itself some seconds later.
#[tokio::test]
async fn one_new_node_that_calls_from_its_own_address_takes_part() {
    let (server, _state) = start().await;
    tokio::time::sleep(HUSH).await;
    let own = SocketAddr::from(([127, 0, 0, 3], 0));
    for (holder, verdict) in [
        ("127.0.0.3:7787", "permit"),
        ("127.0.0.3:7788", "wait"),
        ("127.0.0.3:7787", "permit"),
    ] {
        let fetch = json!({
            "keys": ["k"], "group": "g", "intent": "fetch", "holder": holder, "fetches": [{}],
        });
        let call = text("POST", path::FIND, "accept: */*", &fetch);
        let reply = exchange_from(own, server.api, &call).await;
        let verdict = format!("\"verdict\":\"{verdict}\"");
        assert!(reply.contains(&verdict), "{holder}: {reply}");
    }
}

#[tokio::test]
async fn an_operator_sees_who_takes_a_key_from_whom() {
    let (server, _state) = start().await;
    tokio::time::sleep(HUSH).await;
    let first = join(&server, "10.0.0.1:7787", json!({})).await;
    let told = json!({"key": "k", "bytes": 1, "permit": true, "rank": first["swarm"]["rank"]});
    tell(&server, "10.0.0.1:7787", told).await;
    join(&server, "10.0.0.2:7787", json!({})).await;
    let query = "key=k&group=g&node=10.0.0.2:7787";
    let (status, view) = server.get(&format!("{}?{query}", path::SWARM)).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!(view["permits"][0]["node"], "10.0.0.1:7787", "{view}");
    assert_eq!(
        (&view["permitted"], &view["fetching"]),
        (&json!(1), &json!(2))
    );
    let rack = &view["racks"][0];
    assert_eq!(
        (&rack["rack"], &rack["members"]),
        (&json!("10.0.0.0/24"), &json!(2))
    );
    let path: Vec<_> = view["path"].as_array().expect("a path").iter().collect();
    assert_eq!(path[0]["takes_from"], json!(["10.0.0.1:7787"]));
    assert_eq!(path[1]["feeds"], json!(["10.0.0.2:7787"]));
    let (status, _) = server
        .get(&format!("{}?key=other&group=g", path::SWARM))
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_node_is_told_who_is_in_its_rack() {
    let (server, _state) = start().await;
    let holders = [
        "10.0.0.2:7787",
        "10.0.0.1:7787",
        "10.0.1.1:7787",
        "[fd00::1]:7787",
    ];
    for holder in holders {
        server.announce(holder, &["k"]).await;
    }
    let other = json!({"holder": "10.0.0.9:7787", "keys": ["k"], "group": "other"});
    assert_eq!(server.post(path::ADVERTISE, &other).await.0, 201);
    let alive = async |mates: Option<u64>| {
        let call = json!({"host": "10.0.0.1:7787", "Group": "g", "mates": mates});
        let (status, mut reply) = server.post(path::KEEPALIVE, &call).await;
        assert_eq!(status, 201, "{reply}");
        reply["mates"].take()
    };
    let mates = alive(Some(0)).await;
    assert_eq!(
        mates["holders"],
        json!(["10.0.0.1:7787", "10.0.0.2:7787"]),
        "{mates}"
    );
    let version = mates["version"].as_u64().expect("a version");
    assert_ne!(version, 0);
    // Nothing is said again, nor to one that does not ask.
    assert_eq!(alive(Some(version)).await, Value::Null);
    assert_eq!(alive(None).await, Value::Null);
    // A new node is heard of when the lists are made anew.
    server.announce("10.0.0.3:7787", &["k"]).await;
    server.clock.advance(Duration::from_secs(31));
    let mates = alive(Some(version)).await;
    let all = ["10.0.0.1:7787", "10.0.0.2:7787", "10.0.0.3:7787"];
    assert_eq!(mates["holders"], json!(all), "{mates}");
    // Those that are gone are not in them any more.
    server.clock.advance(Duration::from_mins(10));
    server.announce("10.0.0.3:7787", &["k", "l"]).await;
    server.announce("10.0.0.1:7787", &["k", "l"]).await;
    let mates = alive(Some(version)).await;
    assert_eq!(
        mates["holders"],
        json!(["10.0.0.1:7787", "10.0.0.3:7787"]),
        "{mates}"
    );
}

#[tokio::test]
async fn a_server_without_crowds_tells_nobody_of_its_rack() {
    let state = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", state.path().join("db").display());
    let server = Server::start(&["--database", &database, "--swarm=off"]).await;
    server.advertise("10.0.0.1:7787", &["k"]).await;
    let call = json!({"host": "10.0.0.1:7787", "Group": "g", "mates": 0});
    let (status, reply) = server.post(path::KEEPALIVE, &call).await;
    assert_eq!((status, &reply["mates"]), (201, &Value::Null), "{reply}");
}
