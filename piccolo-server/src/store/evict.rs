//! Evicting the holdings of silent nodes.

use crate::{
    key_hash::KeyHash,
    patience::Since,
    store::{
        Evicted, NodeKey, NodeRow, StoreError,
        batch::lock_nodes,
        engine::{Columns, Engine, Work},
        retry::retried,
        rows,
        sets::delete_rows,
        statement::{Arg, ROWS, Statement, in_space, node_args},
    },
};

/// Nodes without a call since `before`.
///
/// A row is stamped when it is written, so the stamp is never older than the keepalive in it: the
/// index on stamps finds the few old rows, beside those of Go agents, which are written seldom.
pub(super) async fn silent<E: Engine>(
    engine: &E,
    before: Since,
    limit: u32,
) -> Result<Vec<NodeKey>, StoreError> {
    let sql = "SELECT space, holder FROM node WHERE stamp < ? AND seen < ? \
        AND (epoch IS NOT NULL OR seen < ?) ORDER BY stamp LIMIT ?";
    let args = [
        before.own.into(),
        before.own.into(),
        before.go.into(),
        Arg::Int(limit.into()),
    ];
    engine
        .rows(Statement::fixed(sql, args), key)
        .await
        .map_err(|e| StoreError::of("list silent nodes", e))
}

/// Under the locks of the nodes' rows, as every change of a set: a node that comes back meanwhile
/// is either seen here and left alone, or finds what is left of its set.
pub(super) async fn evict<E: Engine>(
    engine: &E,
    nodes: &[NodeKey],
    before: Since,
    keys: u32,
) -> Result<Evicted, StoreError> {
    retried::<E, _, _>(|| attempt(engine, nodes, before, keys))
        .await
        .map_err(|e| StoreError::of("take away silent nodes", e))
}

async fn attempt<E: Engine>(
    engine: &E,
    nodes: &[NodeKey],
    before: Since,
    keys: u32,
) -> Result<Evicted, sqlx::Error> {
    let mut work = engine.begin().await?;
    let mut rows = lock_nodes::<E>(&mut work, nodes).await?;
    rows.retain(|row| row.seen < before.of(row.agent));
    let mut left = keys;
    let mut gone = Vec::new();
    let mut empty = Vec::new();
    for row in rows {
        if left == 0 {
            break;
        }
        let held = some_keys::<E>(&mut work, row.key, left).await?;
        let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
        gone.extend(held.iter().map(|key| (row.key, *key)));
        if count < left {
            empty.push(row.key);
        } else {
            shrink::<E>(&mut work, row, &held).await?;
        }
        left = left.saturating_sub(count);
    }
    delete_rows::<E>(&mut work, &mut gone).await?;
    delete_nodes::<E>(&mut work, &empty).await?;
    work.commit().await?;
    Ok(Evicted {
        nodes: u64::try_from(empty.len()).unwrap_or(u64::MAX),
        keys: u64::try_from(gone.len()).unwrap_or(u64::MAX),
    })
}

async fn some_keys<E: Engine>(
    work: &mut E::Work,
    node: NodeKey,
    limit: u32,
) -> Result<Vec<KeyHash>, sqlx::Error> {
    let sql = "SELECT key_hash FROM holding WHERE space = ? AND holder = ? LIMIT ?";
    let [space, holder] = node_args(node);
    let statement = Statement::fixed(sql, [space, holder, Arg::Int(limit.into())]);
    work.rows(statement, rows::one_hash).await
}

/// A node with many keys goes in several steps. What is left has no version, so that the node is
/// asked for its whole set should it come back; the stamp stays as old as it is.
async fn shrink<E: Engine>(
    work: &mut E::Work,
    row: NodeRow,
    gone: &[KeyHash],
) -> Result<(), sqlx::Error> {
    let mut held = row.held;
    held.remove(gone);
    let sql = "UPDATE node SET held = ?, digest = ?, seq = NULL \
        WHERE space = ? AND holder = ?";
    let [space, holder] = node_args(row.key);
    let args = [
        i64::from(held.count).into(),
        Arg::Hash(held.sum.to_be_bytes()),
        space,
        holder,
    ];
    work.execute(Statement::fixed(sql, args)).await.map(|_| ())
}

async fn delete_nodes<E: Engine>(work: &mut E::Work, nodes: &[NodeKey]) -> Result<(), sqlx::Error> {
    for of_space in nodes.chunk_by(|one, next| one.space == next.space) {
        for chunk in of_space.chunks(ROWS) {
            let head = "DELETE FROM node WHERE space = ? AND holder IN (";
            work.execute(in_space(head, chunk, ")")).await?;
        }
    }
    Ok(())
}

fn key(row: &dyn Columns) -> Result<NodeKey, sqlx::Error> {
    Ok(NodeKey {
        space: rows::space(row, 0)?,
        holder: rows::holder(row, 1)?,
    })
}
