//! Every statement the server sends reads by an index, and holdings by the index alone.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use parking_lot::Mutex;
use piccolo_api::path;
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    engine::{Database, Engine, on_engines},
    server::Server,
};

on_engines!(all: statements_read_by_indexes, an_unchanged_sync_is_one_read);

/// They read a table whole, and are meant to: at the start, and once in a while.
const WHOLE: [&str; 6] = [
    "SELECT id, grp, family FROM space WHERE id NOT IN (SELECT id FROM space_gone)",
    "SELECT id FROM space WHERE id NOT IN (SELECT id FROM space_gone) \
     AND NOT EXISTS (SELECT 1 FROM node WHERE node.space = space.id)",
    "SELECT id FROM space_gone \
     WHERE EXISTS (SELECT 1 FROM node WHERE node.space = space_gone.id)",
    "SELECT id FROM space_gone WHERE since < ? \
     AND NOT EXISTS (SELECT 1 FROM node WHERE node.space = space_gone.id) \
     ORDER BY since LIMIT ?",
    "SELECT space, holder, seen, state, epoch, seq, held, digest FROM node",
    "SELECT from_rack, to_rack, writer, stamp, weight, log_rate, bytes, busy_us FROM bandwidth \
     WHERE writer <> ?",
];

/// Collects the statements that sqlx logs.
#[derive(Debug, Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let words = if text.statement.trim().is_empty() {
            &text.summary
        } else {
            &text.statement
        };
        let words: Vec<&str> = words.split_whitespace().collect();
        self.0.lock().push(words.join(" "));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    summary: String,
    statement: String,
}

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }
}

/// Stands before a query whose holders SQLite gives as one value.
const IN_ONE: &str = "SELECT coalesce(unhex(group_concat(hex(holder), '')), x'') FROM (";

async fn statements_read_by_indexes(engine: Engine) {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(statements.clone()).expect("the first one");
    let database = engine.database();
    let url = database.url();
    // Racks that are worth looking into.
    let racks = tempfile::NamedTempFile::new().expect("a file");
    let tree = "tree: [{name: x, cidrs: [10.0.20.0/24]}, {name: y, cidrs: [10.0.25.0/24]}]";
    std::fs::write(racks.path(), tree).expect("a topology file");
    let racks = racks.path().to_str().expect("a plain path");
    // Without a cache every find asks, and nodes die soon.
    let flags = [
        "--database",
        &url,
        "--topology",
        racks,
        // Where the other nodes are.
        "--node-cidrs",
        "0.0.0.0/0,::/0",
        "--find-cache-ttl",
        "0",
        "--node-timeout",
        "1s",
        "--go-node-timeout",
        "1s",
    ];
    let server = Server::start(&flags).await;
    all_calls(&server).await;
    server.stop().await;
    popular_key(&url).await;
    fill(&database);
    let statements = statements.0.lock().clone();
    let statements: BTreeSet<String> = statements.into_iter().collect();
    let mut checked = 0;
    for statement in &statements {
        let reads = ["SELECT", "(SELECT", "UPDATE", "DELETE"];
        let is_own = !statement.contains("_sqlx_migrations") && !statement.contains("GET_LOCK");
        if !is_own
            || statement.contains("RELEASE_LOCK")
            || statement.contains("sqlite_master")
            || WHOLE.contains(&bare(statement))
            || !reads.iter().any(|word| statement.starts_with(word))
            || !(statement.contains("node")
                || statement.contains("holding")
                || statement.contains("space"))
        {
            continue;
        }
        match engine {
            Engine::Sqlite => check_sqlite(&database, statement),
            Engine::MariaDb | Engine::MySql => check_server(&database, statement),
        }
        checked += 1;
    }
    assert!(checked >= 10, "{statements:#?}");
    for table in [
        "DELETE FROM holding",
        "DELETE FROM node",
        "SELECT key_hash FROM holding",
        // Racks beside the neighbours, and a page of a long list.
        "SELECT holder FROM (SELECT holder FROM holding WHERE space = ? AND key_hash = ? AND holder >= ? AND holder <= ?",
        "SELECT holder FROM holding WHERE space = ? AND key_hash = ? AND holder > ?",
    ] {
        let begins = |s: &String| s.strip_prefix(IN_ONE).unwrap_or(s).starts_with(table);
        assert!(statements.iter().any(begins), "{table}: {statements:#?}");
    }
}

/// Without what one engine says more.
fn bare(statement: &str) -> &str {
    let locks = statement.strip_suffix(" FOR UPDATE").unwrap_or(statement);
    locks.strip_suffix(" + 0").unwrap_or(locks)
}

async fn an_unchanged_sync_is_one_read(engine: Engine) {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(statements.clone()).expect("the first one");
    let (server, _database) = engine.fresh().await;
    let keys: Vec<String> = (0..400).map(|n| format!("key-{n}")).collect();
    let sync = json!({"holder": "10.0.0.1:1", "keys": keys, "group": "g"});
    assert_eq!(server.post(path::SYNC, &sync).await.0, 201);
    statements.0.lock().clear();
    for _ in 0..3 {
        assert_eq!(server.post(path::SYNC, &sync).await.0, 201);
    }
    // Besides these, keepalives are shared once a second.
    let statements = statements.0.lock().clone();
    let others = [
        "SELECT id, grp, family FROM space",
        "SELECT space, holder, seen, state, epoch, seq, held, digest FROM node WHERE stamp >= ?",
    ];
    let is_own = |statement: &&String| {
        let of_sets = statement.contains("node") || statement.contains("holding");
        of_sets && !others.iter().any(|other| statement.starts_with(other))
    };
    let own: Vec<_> = statements.iter().filter(is_own).collect();
    assert_eq!(own.len(), 3, "{own:#?}");
    for statement in own {
        assert!(
            statement.contains("FROM node WHERE space = ? AND holder IN (?)"),
            "{statement}"
        );
    }
}

/// Everything that the server can be brought to ask.
async fn all_calls(server: &Server) {
    let sync = |keys: &[&str], seq: u64| json!({"holder": "10.0.0.1:1", "keys": keys, "group": "g", "epoch": 1, "seq": seq});
    for (seq, keys) in [(1, ["a", "b"]), (2, ["b", "c"])] {
        assert_eq!(server.post(path::SYNC, &sync(&keys, seq)).await.0, 201);
    }
    for host in 1..=30 {
        let holder = format!("10.0.{host}.2:1");
        server.advertise(&holder, &["a", "d", "e"]).await;
    }
    server.advertise("[fd00::1]:1", &["a"]).await;
    for (key, count) in [("a", 1), ("a", 100), ("none", 100)] {
        server.ranked(key, "10.0.0.9", count).await;
        server.ranked(key, "fd00::9", count).await;
    }
    let stale = json!({"host": "10.0.0.1:1", "Group": "g", "epoch": 9, "seq": 9});
    server.post(path::KEEPALIVE, &stale).await;
    let leave = json!({"host": "10.0.0.1:1", "Group": "g"});
    server.post(path::LEAVE, &leave).await;
    // Nodes die and are removed.
    for _ in 0..30 {
        server.clock.advance(Duration::from_millis(300));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A key whose holders are worth reading whole.
async fn popular_key(url: &str) {
    let server = Server::start(&["--database", url]).await;
    for rack in 0..6 {
        let holders = (1..=50).map(|host| format!("10.1.{rack}.{host}:1"));
        let calls = holders.map(|holder| {
            let server = &server;
            async move { server.advertise(&holder, &["popular"]).await }
        });
        futures_util::future::join_all(calls).await;
    }
    for host in 1..=10 {
        server
            .ranked("popular", &format!("10.1.3.{host}"), 10)
            .await;
    }
    // It is read in the background.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Enough rows that reading all of them would never be the plan of choice.
fn fill(database: &Database) {
    let statements = match database {
        Database::Sqlite(_) => [
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999) \
             INSERT INTO node SELECT 1, CAST(printf('%06d', i) AS BLOB), i, i, 1, 0, 1, 1, 20, \
             zeroblob(16) FROM n"
                .to_owned(),
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) \
             INSERT INTO holding SELECT 1, CAST(printf('%016d', i % 500) AS BLOB), \
             CAST(printf('%06d', i / 5) AS BLOB) FROM n"
                .to_owned(),
            "ANALYZE".to_owned(),
        ],
        Database::Server(_) => [
            format!(
                "INSERT INTO node SELECT 1, LPAD(n, 6, '0'), n, n, 1, 0, 1, 1, 20, \
                 REPEAT('a', 16) FROM ({}) AS n WHERE n < 20000",
                numbers(5)
            ),
            format!(
                "INSERT INTO holding SELECT 1, LPAD(n % 500, 16, '0'), LPAD(n DIV 5, 6, '0') \
                 FROM ({}) AS n",
                numbers(5)
            ),
            "ANALYZE TABLE node, holding".to_owned(),
        ],
    };
    for statement in statements {
        database.query(&statement);
    }
}

fn check_sqlite(database: &Database, statement: &str) {
    // The system's shell may be older than the server's own SQLite, and lack this function.
    let statement = statement.replace("unhex(", "hex(");
    let plan = database.query(&format!("EXPLAIN QUERY PLAN {statement}"));
    for step in plan.lines() {
        let scans = [
            "SCAN node",
            "SCAN holding",
            "SCAN space",
            "AUTOMATIC",
            "TEMP B-TREE",
        ];
        let bad = scans.iter().find(|bad| step.contains(*bad));
        assert_eq!(bad, None, "{statement}\n{plan}");
        if step.contains("SEARCH holding") {
            let index_only = step.contains("PRIMARY KEY") || step.contains("COVERING INDEX");
            assert!(index_only, "{statement}\n{plan}");
        }
    }
    assert!(plan.contains("SEARCH"), "{statement}\n{plan}");
}

/// A query that gives all numbers with `digits` digits as `n`. Sequence tables are MariaDB's.
fn numbers(digits: u32) -> String {
    let digit: Vec<_> = (0..10)
        .map(|digit| format!("SELECT {digit} AS d"))
        .collect();
    let digit = digit.join(" UNION ALL ");
    let places = (0..digits).map(|place| format!("({digit}) AS d{place}"));
    let sum = (0..digits).map(|place| format!("d{place}.d * {}", 10_u32.pow(place)));
    format!(
        "SELECT {} AS n FROM {}",
        sum.collect::<Vec<_>>().join(" + "),
        places.collect::<Vec<_>>().join(" JOIN ")
    )
}

fn check_server(database: &Database, statement: &str) {
    // A limit takes numbers only, all columns take bytes. Few rows are new, and few are old.
    let statement = statement
        .replace("LIMIT ?", "LIMIT 5")
        .replace("space = ?", "space = 1")
        .replace("stamp >= ?", "stamp >= 19900")
        .replace("stamp < ?", "stamp < 100")
        .replace('?', "x'31'");
    let plan = database.query(&format!("EXPLAIN FORMAT=TRADITIONAL {statement}"));
    for line in plan.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        // id, select_type, table, partitions (MySQL's), type, possible_keys, key, key_len, ref, rows,
        // filtered (MySQL's), Extra.
        let ([_, _, table, access, _, _, _, _, _, extra]
        | [_, _, table, _, access, _, _, _, _, _, _, extra]) = columns[..]
        else {
            panic!("{line}");
        };
        // A row that is not there was looked for by a unique key before the plan was made.
        let is_none = [
            "after reading const tables",
            "no matching row in const table",
        ];
        if is_none.iter().any(|none| extra.contains(none))
            || table.starts_with('<')
            || table == "NULL"
        {
            continue;
        }
        assert!(
            ["const", "ref", "range", "eq_ref", "unique_subquery"].contains(&access),
            "{statement}\n{plan}"
        );
        let sorts = extra.contains("filesort") || extra.contains("temporary");
        assert!(!sorts, "{statement}\n{plan}");
        if table == "holding" && statement.contains("SELECT") {
            assert!(extra.contains("Using index"), "{statement}\n{plan}");
        }
    }
    assert!(!plan.trim().is_empty(), "{statement}");
}
