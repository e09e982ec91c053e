//! Compares the sets that are stored with what their nodes' rows say of them.
//!
//! Every change writes both in one transaction, and a node that says what its row says is answered
//! without a look at the set. So a set that came apart from its row would stay so: after rows were
//! edited or restored by hand, or in a cluster whose members take changes of one node at the same
//! moment.

use crate::{
    key_hash::{Fingerprint, KeyHash},
    store::{
        Audited, NodeKey, NodeRow, Stamp, StoreError,
        batch::lock_nodes,
        engine::{Engine, Work},
        retry::retried,
        rows,
        statement::{Arg, Statement, node_args},
    },
};

/// Keys of one statement.
const KEYS: u32 = 4096;

/// Looks at the next nodes after `after`, at most `limit`, in the order of their keys.
///
/// A row that does not say what is stored is put right under its lock, without a version: the node is
/// then asked for its set.
pub(super) async fn audit<E: Engine>(
    engine: &E,
    after: Option<NodeKey>,
    limit: u32,
    stamp: Stamp,
) -> Result<Audited, StoreError> {
    let of = |e| StoreError::of("audit the sets of nodes", e);
    let rows = next(engine, after, limit).await.map_err(of)?;
    let mut audited = Audited {
        last: rows.last().map(|row| row.key),
        nodes: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        mended: Vec::new(),
    };
    for row in rows {
        if read(engine, row.key).await.map_err(of)? == row.held {
            continue;
        }
        // It may have changed between the two reads.
        let mended = retried::<E, _, _>(|| mend(engine, row.key, stamp)).await;
        if mended.map_err(of)? {
            audited.mended.push(row.key);
        }
    }
    Ok(audited)
}

/// The next nodes of the same space; of the next space if there are none.
async fn next<E: Engine>(
    engine: &E,
    after: Option<NodeKey>,
    limit: u32,
) -> Result<Vec<NodeRow>, sqlx::Error> {
    let columns = rows::NODE;
    if let Some(node) = after {
        let sql = format!(
            "SELECT {columns} FROM node WHERE space = ? AND holder > ? ORDER BY holder LIMIT ?"
        );
        let [space, holder] = node_args(node);
        let args = [space, holder, Arg::Int(limit.into())];
        let rows = engine.rows(Statement::built(sql, args), rows::node).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    let sql = format!("SELECT {columns} FROM node WHERE space > ? ORDER BY space, holder LIMIT ?");
    // Numbers of spaces begin with one.
    let space = after.map_or(0, |node| node.space.0);
    let args = [Arg::Int(space.into()), Arg::Int(limit.into())];
    engine.rows(Statement::built(sql, args), rows::node).await
}

/// What is stored of a node's set, a part at a time.
async fn read<E: Engine>(engine: &E, node: NodeKey) -> Result<Fingerprint, sqlx::Error> {
    let mut sum = Sum::default();
    while let Some(statement) = sum.next(node) {
        sum.add(&engine.rows(statement, rows::one_hash).await?);
    }
    Ok(sum.fingerprint)
}

/// Whether the row had to be put right.
async fn mend<E: Engine>(engine: &E, node: NodeKey, stamp: Stamp) -> Result<bool, sqlx::Error> {
    let mut work = engine.begin().await?;
    let Some(row) = lock_nodes::<E>(&mut work, &[node]).await?.pop() else {
        return Ok(false);
    };
    let mut sum = Sum::default();
    while let Some(statement) = sum.next(node) {
        sum.add(&work.rows(statement, rows::one_hash).await?);
    }
    let stored = sum.fingerprint;
    if stored == row.held {
        return Ok(false);
    }
    let sql = "UPDATE node SET held = ?, digest = ?, seq = NULL, stamp = ?, writer = ? \
        WHERE space = ? AND holder = ?";
    let [space, holder] = node_args(node);
    let args = [
        i64::from(stored.count).into(),
        Arg::Hash(stored.sum.to_be_bytes()),
        stamp.at.into(),
        stamp.writer.0.into(),
        space,
        holder,
    ];
    work.execute(Statement::fixed(sql, args)).await?;
    work.commit().await?;
    Ok(true)
}

/// The fingerprint of a set that is read in parts.
#[derive(Debug, Default)]
struct Sum {
    fingerprint: Fingerprint,
    /// The last key that was read.
    last: Option<KeyHash>,
    is_done: bool,
}

impl Sum {
    /// Reads the next part, if there is one.
    fn next(&self, node: NodeKey) -> Option<Statement> {
        if self.is_done {
            return None;
        }
        let (last, behind) = self.last.map_or(([0; 16], ">="), |last| (last.0, ">"));
        let sql = format!(
            "SELECT key_hash FROM holding WHERE space = ? AND holder = ? AND key_hash {behind} ? \
            ORDER BY key_hash LIMIT ?"
        );
        let [space, holder] = node_args(node);
        let args = [space, holder, Arg::Hash(last), Arg::Int(KEYS.into())];
        Some(Statement::built(sql, args))
    }

    fn add(&mut self, keys: &[KeyHash]) {
        self.fingerprint.add(keys);
        self.last = keys.last().copied();
        self.is_done = u32::try_from(keys.len()).is_ok_and(|count| count < KEYS);
    }
}
