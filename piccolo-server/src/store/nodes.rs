//! Nodes and their signs of life.

use crate::store::{
    NodeKey, NodeRow, Seen, Stamp, StoreError, Writer,
    engine::{Engine, Work as _},
    rows,
    statement::{Arg, Statement, node_args},
};

/// Rows of one statement; the databases bound the arguments of one.
const ROWS: usize = 512;

pub(super) async fn all<E: Engine>(engine: &E) -> Result<Vec<NodeRow>, StoreError> {
    let sql = ["SELECT ", rows::NODE, " FROM node"].concat();
    let rows = engine.rows(Statement::built(sql, []), rows::node).await;
    rows.map_err(|e| StoreError::Database("list the nodes", e))
}

pub(super) async fn of_others<E: Engine>(
    engine: &E,
    since: i64,
    writer: Writer,
) -> Result<Vec<NodeRow>, StoreError> {
    let sql = [
        "SELECT ",
        rows::NODE,
        " FROM node WHERE stamp >= ? AND writer <> ?",
    ]
    .concat();
    let statement = Statement::built(sql, [Arg::Int(since), Arg::Int(writer.0)]);
    engine
        .rows(statement, rows::node)
        .await
        .map_err(|e| StoreError::Database("list the nodes", e))
}

pub(super) async fn one<E: Engine>(
    engine: &E,
    node: NodeKey,
) -> Result<Option<NodeRow>, StoreError> {
    let sql = [
        "SELECT ",
        rows::NODE,
        " FROM node WHERE space = ? AND holder = ?",
    ]
    .concat();
    let statement = Statement::built(sql, node_args(node));
    let mut found = engine
        .rows(statement, rows::node)
        .await
        .map_err(|e| StoreError::Database("look up a node", e))?;
    Ok(found.pop())
}

/// Never moves a sign of life back, so that two instances may write in any order.
pub(super) async fn touch<E: Engine>(
    engine: &E,
    seen: &[Seen],
    stamp: Stamp,
) -> Result<(), StoreError> {
    let failed = |e| StoreError::Database("take signs of life", e);
    let (before, after) = E::DIALECT.inserted;
    let set = |column: &str| format!("{column} = {before}{column}{after}");
    let tail = format!(
        "{} seen = {}(node.seen, {before}seen{after}), {}, {}, {}",
        E::DIALECT.on_known_node,
        E::DIALECT.greatest,
        set("stamp"),
        set("writer"),
        set("state"),
    );
    let mut work = engine.begin().await.map_err(failed)?;
    for chunk in seen.chunks(ROWS) {
        let rows = chunk.iter().map(|seen| {
            let [space, holder] = node_args(seen.key);
            let state = Arg::Int(seen.state.byte().into());
            [
                space,
                holder,
                seen.at.into(),
                stamp.at.into(),
                stamp.writer.0.into(),
                state,
            ]
        });
        let head =
            "INSERT INTO node (space, holder, seen, stamp, writer, state, held, digest) VALUES ";
        let row = "(?,?,?,?,?,?,0,x'00000000000000000000000000000000')";
        work.execute(Statement::repeated(head, row, rows, &tail))
            .await
            .map_err(failed)?;
    }
    work.commit().await.map_err(failed)
}
