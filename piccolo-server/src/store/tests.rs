//! Every statement that the server can send is SQL that all databases know.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use parking_lot::Mutex;
use sqlx::migrate::{MigrateError, Migrator};
use testbed::portable_sql;

use super::{
    engine::{Columns, Dialect, Engine, Map, Work},
    statement::Statement,
    *,
};

/// Takes statements down, and answers each with as many rows as it is told.
#[derive(Debug, Clone, Default)]
struct Recorder {
    rows: usize,
    /// No group is there by its name.
    without_groups: bool,
    seen: Arc<Mutex<Log>>,
}

/// Texts, and the lines that made them.
#[derive(Debug, Default)]
struct Log {
    texts: BTreeSet<String>,
    lines: BTreeSet<(String, u32)>,
}

/// A row of whatever columns.
struct Row(Vec<Vec<u8>>);

impl Columns for Row {
    fn int(&self, _: usize) -> Result<i64, sqlx::Error> {
        Ok(4)
    }

    fn maybe_int(&self, _: usize) -> Result<Option<i64>, sqlx::Error> {
        Ok(None)
    }

    fn bytes(&self, index: usize) -> Result<&[u8], sqlx::Error> {
        Ok(&self.0[index])
    }
}

impl Recorder {
    fn take_down(&self, statement: &Statement) {
        let mut seen = self.seen.lock();
        seen.texts.insert(statement.text().to_owned());
        let file = Path::new(statement.made_at.file()).file_name();
        let file = file.expect("a file").to_string_lossy().into_owned();
        seen.lines.insert((file, statement.made_at.line()));
    }

    fn answer<T>(&self, statement: &Statement, map: Map<T>) -> Result<Vec<T>, sqlx::Error> {
        self.take_down(statement);
        let columns = statement.text().split("SELECT ").nth(1).expect("a query");
        let columns = columns.split(" FROM").next().expect("columns");
        let value = |column: &str| match column.trim_matches(['(', ')', ' ']) {
            "holder" => vec![10, 0, 0, 1, 0, 1],
            "address" => b"10.0.0.1:7789".to_vec(),
            "grp" | "from_rack" | "to_rack" => b"g".to_vec(),
            _ => vec![1; 16],
        };
        let row = Row(columns.split(", ").map(value).collect());
        let is_of_group = statement.text().contains("FROM space WHERE grp");
        let rows = if self.without_groups && is_of_group {
            0
        } else {
            self.rows
        };
        (0..rows).map(|_| map(&row)).collect()
    }
}

impl Engine for Recorder {
    type Work = Self;
    const DIALECT: Dialect = MySql::DIALECT;
    const LANES: usize = 1;

    async fn rows<T: Send>(&self, sql: Statement, map: Map<T>) -> Result<Vec<T>, sqlx::Error> {
        self.answer(&sql, map)
    }

    async fn begin(&self) -> Result<Self, sqlx::Error> {
        Ok(self.clone())
    }

    fn connections(&self) -> Connections {
        Connections::default()
    }

    fn migrations() -> &'static Migrator {
        MySql::migrations()
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        Ok(())
    }

    fn is_conflict(_: &sqlx::Error) -> bool {
        false
    }

    fn is_no_table(_: &sqlx::Error) -> bool {
        false
    }
}

impl Work for Recorder {
    async fn rows<T: Send>(&mut self, sql: Statement, map: Map<T>) -> Result<Vec<T>, sqlx::Error> {
        self.answer(&sql, map)
    }

    async fn execute(&mut self, sql: Statement) -> Result<u64, sqlx::Error> {
        self.take_down(&sql);
        Ok(u64::try_from(self.rows).unwrap_or(u64::MAX))
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// All that a store can be asked for.
async fn ask_everything(store: &SqlStore<Recorder>) {
    let key = |n| KeyHash([n; 16]);
    let holder = Packed::new(std::net::Ipv4Addr::new(10, 0, 0, 1).into(), 1);
    let other = Packed::new(std::net::Ipv4Addr::new(10, 0, 0, 2).into(), 1);
    let space = SpaceId(4);
    let node = NodeKey { space, holder };
    let stamp = Stamp {
        at: 9,
        writer: Writer(1),
    };
    let taken = Taken {
        stamp,
        alive_since: 1,
        keys_per_node: 9,
    };
    let stretch = Stretch {
        first: holder,
        begin: holder,
        last: other,
    };
    let before = Since { own: 9, go: 5 };
    // What fails for want of rows was sent all the same.
    let _ = store.check_schema().await;
    ask_of_spaces(store).await;
    let _ = store.nearest(space, key(1), holder, 9).await;
    let _ = store.nodes().await;
    let _ = store.nodes_of_others(1, Writer(1)).await;
    let _ = store.node(node).await;
    let _ = store.silent(before, 9).await;
    let _ = store.bandwidth_of_others(Writer(1)).await;
    let _ = store.forget_bandwidth(1).await;
    let _ = store.lease("l", 1, stamp).await;
    ask_of_instances(store).await;
    for limit in [9, 5000] {
        let _ = store
            .holders((space, holder.family()), key(1), None, limit)
            .await;
        let _ = store.within(space, key(1), &[stretch], limit).await;
    }
    for keys in [1, 9] {
        let _ = store.evict(&[node], before, keys).await;
    }
    for after in [None, Some(node)] {
        let _ = store.audit(after, 9, stamp).await;
    }
    let seen = Seen {
        key: node,
        at: 9,
        state: NodeState::Up,
    };
    let _ = store.touch(&[seen], stamp).await;
    let _ = store.rewind(1, 1, stamp).await;
    let learned = BandwidthRow {
        from: "a".to_owned(),
        to: "b".to_owned(),
        weight: 1,
        log_rate: 1,
        bytes: 1,
        busy_us: 1,
    };
    let _ = store.share_bandwidth(&[learned], stamp).await;
    let delta = ChangeKind::Delta {
        added: vec![key(2)],
        removed: vec![key(1)],
    };
    for kind in [
        delta,
        ChangeKind::Replace(vec![key(3)]),
        ChangeKind::Leave,
        ChangeKind::Return,
    ] {
        let change = Change {
            node,
            version: None,
            kind,
        };
        let _ = store.write(&[change], taken).await;
    }
}

async fn ask_of_spaces(store: &SqlStore<Recorder>) {
    let group: Group = "g".parse().expect("a group");
    let _ = store.spaces().await;
    let _ = store.space(&group, Family::V4).await;
    let _ = store.intern(&group, Family::V4, 1).await;
    let _ = store.empty_spaces().await;
    let _ = store.mark_gone(&[SpaceId(4)], 1).await;
}

async fn ask_of_instances(store: &SqlStore<Recorder>) {
    let instance = InstanceRow {
        id: Writer(1),
        address: ([10, 0, 0, 1], 7789).into(),
        secret: 1,
        beat: 1,
    };
    let _ = store.beat(&instance).await;
    let _ = store.instances().await;
    let _ = store.forget_instance(Writer(1), 1).await;
}

#[tokio::test]
async fn every_statement_is_known_to_all_databases() {
    let seen = Arc::default();
    for (rows, without_groups) in [(0, false), (1, false), (1, true)] {
        let recorder = Recorder {
            rows,
            without_groups,
            seen: Arc::clone(&seen),
        };
        ask_everything(&SqlStore::new(recorder)).await;
    }
    let seen: parking_lot::MutexGuard<'_, Log> = seen.lock();
    let mut unseen = makers();
    unseen.retain(|maker| !seen.lines.contains(maker));
    assert!(unseen.is_empty(), "no statement of {unseen:?} was sent");
    let texts = seen.texts.iter().map(String::as_str);
    let migrations = MySql::migrations().iter().map(|m| m.sql.as_str());
    for sql in texts.chain(migrations).chain(mysql::beside_statements()) {
        portable_sql::check(sql).unwrap_or_else(|refused| panic!("{refused}"));
    }
}

/// The lines of this module's files that make statements.
fn makers() -> BTreeSet<(String, u32)> {
    const MAKE: [&str; 5] = [
        "Statement::fixed(",
        "Statement::built(",
        "Statement::repeated(",
        "Statement::union(",
        "in_space(",
    ];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut makers = BTreeSet::new();
    for file in fs::read_dir(directory).expect("the module's files") {
        let file = file.expect("a file").path();
        let name = file.file_name().expect("a name").to_string_lossy();
        if file.is_dir() || ["statement.rs", "tests.rs"].contains(&&*name) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a text");
        let mut of_in_space = false;
        for (number, line) in text.lines().enumerate() {
            // Its own line is never the caller's.
            of_in_space = line.contains("fn in_space(") || (of_in_space && line != "}");
            if !of_in_space && MAKE.iter().any(|make| line.contains(make)) {
                let number = u32::try_from(number + 1).expect("a line's number");
                makers.insert((name.clone().into_owned(), number));
            }
        }
    }
    assert!(makers.len() > 20, "{makers:?}");
    makers
}
