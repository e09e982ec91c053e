//! Nodes and their keepalives.

use crate::store::{
    NodeKey, NodeRow, Seen, Stamp, StoreError, Writer,
    engine::{Engine, Work as _},
    retry::retried,
    rows,
    statement::{Arg, ROWS, Statement, node_args},
};

pub(super) async fn all<E: Engine>(engine: &E) -> Result<Vec<NodeRow>, StoreError> {
    let sql = ["SELECT ", rows::NODE, " FROM node"].concat();
    let rows = engine.rows(Statement::built(sql, []), rows::node).await;
    rows.map_err(|e| StoreError::of("list the nodes", e))
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
        .map_err(|e| StoreError::of("list the nodes", e))
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
        .map_err(|e| StoreError::of("look up a node", e))?;
    Ok(found.pop())
}

/// Writes only what is later than the stored value: two instances may write in any order, and each
/// has to learn what the other wrote. Every few hundred rows are a transaction of their own, to
/// keep locks short.
pub(super) async fn touch<E: Engine>(
    engine: &E,
    seen: &[Seen],
    stamp: Stamp,
) -> Result<(), StoreError> {
    for chunk in seen.chunks(ROWS) {
        retried::<E, _, _>(|| touch_some(engine, chunk, stamp))
            .await
            .map_err(|e| StoreError::of("read keepalives", e))?;
    }
    Ok(())
}

async fn touch_some<E: Engine>(engine: &E, seen: &[Seen], stamp: Stamp) -> Result<(), sqlx::Error> {
    let (before, after) = E::DIALECT.inserted;
    let new = |column: &str| format!("{before}{column}{after}");
    let (new_seen, new_state) = (new("seen"), new("state"));
    let if_later = |column: &str| {
        let new = new(column);
        format!(
            "{column} = CASE WHEN {new_seen} > node.seen \
                OR {new_seen} = node.seen AND {new_state} > node.state \
                THEN {new} ELSE node.{column} END"
        )
    };
    // MySQL assigns from left to right, and what comes later in the list sees it: first what the
    // condition does not look at.
    let set = ["stamp", "writer", "state", "seen"]
        .map(if_later)
        .join(", ");
    let tail = format!("{} {set}", E::DIALECT.on_known_node);
    let rows = seen.iter().map(|seen| {
        let [space, holder] = node_args(seen.key);
        let state = Arg::Int(seen.state.byte().into());
        let (stamp, writer) = (stamp.at.into(), stamp.writer.0.into());
        [space, holder, seen.at.into(), stamp, writer, state]
    });
    let head = "INSERT INTO node (space, holder, seen, stamp, writer, state, held, digest) VALUES ";
    let row = "(?,?,?,?,?,?,0,x'00000000000000000000000000000000')";
    let mut work = engine.begin().await?;
    work.execute(Statement::repeated(head, row, rows, &tail))
        .await?;
    work.commit().await
}

/// Moves times that are later than `latest` to `to`, so that any later keepalive is above them, and stamps
/// their rows, so that other instances read them.
pub(super) async fn rewind<E: Engine>(
    engine: &E,
    latest: i64,
    to: i64,
    stamp: Stamp,
) -> Result<u64, StoreError> {
    retried::<E, _, _>(|| rewind_all(engine, latest, to, stamp))
        .await
        .map_err(|e| StoreError::of("take back times of the future", e))
}

async fn rewind_all<E: Engine>(
    engine: &E,
    latest: i64,
    to: i64,
    stamp: Stamp,
) -> Result<u64, sqlx::Error> {
    let sql = "UPDATE node SET stamp = ?, writer = ?, \
        seen = CASE WHEN seen > ? THEN ? ELSE seen END WHERE seen > ? OR stamp > ?";
    let args = [
        stamp.at.into(),
        stamp.writer.0.into(),
        latest.into(),
        to.into(),
        latest.into(),
        Arg::Int(latest),
    ];
    let mut work = engine.begin().await?;
    let rewound = work.execute(Statement::fixed(sql, args)).await?;
    work.commit().await?;
    Ok(rewound)
}
