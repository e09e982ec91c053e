//! The rows of nodes' sets: which key each node has.

use crate::{
    key_hash::KeyHash,
    store::{
        Applied, Change, ChangeOutcome, NodeKey,
        engine::{Engine, Work},
        statement::{Arg, ROWS, Statement, node_args},
    },
};

fn holding_args(node: NodeKey, key: KeyHash) -> [Arg; 3] {
    [node.space.into(), key.into(), node.holder.into()]
}

fn rows_of(
    changes: &[Change],
    outcomes: &[ChangeOutcome],
    which: fn(&Applied) -> &[KeyHash],
) -> Vec<(NodeKey, KeyHash)> {
    let mut rows = Vec::new();
    for (change, outcome) in changes.iter().zip(outcomes) {
        if let ChangeOutcome::Done(applied) = outcome {
            rows.extend(which(applied).iter().map(|key| (change.node, *key)));
        }
    }
    sort(&mut rows);
    rows
}

pub(super) async fn insert<E: Engine>(
    work: &mut E::Work,
    changes: &[Change],
    outcomes: &[ChangeOutcome],
) -> Result<(), sqlx::Error> {
    let head = [
        E::DIALECT.insert_ignore,
        " INTO holding (space, key_hash, holder) VALUES ",
    ]
    .concat();
    for chunk in rows_of(changes, outcomes, |applied| &applied.added).chunks(ROWS) {
        let args = chunk.iter().map(|(node, key)| holding_args(*node, *key));
        work.execute(Statement::repeated(&head, "(?,?,?)", args, ""))
            .await?;
    }
    Ok(())
}

pub(super) async fn delete<E: Engine>(
    work: &mut E::Work,
    changes: &[Change],
    outcomes: &[ChangeOutcome],
) -> Result<(), sqlx::Error> {
    let mut gone = rows_of(changes, outcomes, |applied| &applied.removed);
    delete_rows::<E>(work, &mut gone).await
}

pub(super) async fn delete_rows<E: Engine>(
    work: &mut E::Work,
    gone: &mut [(NodeKey, KeyHash)],
) -> Result<(), sqlx::Error> {
    gone.sort_unstable();
    let head = "DELETE FROM holding WHERE space = ? AND holder = ? AND key_hash IN (";
    for of_node in gone.chunk_by(|(one, _), (next, _)| one == next) {
        for chunk in of_node.chunks(ROWS) {
            let keys = chunk.iter().map(|(_, key)| [Arg::from(*key)]);
            let node = chunk.first().map(|(node, _)| node_args(*node));
            let statement = Statement::repeated(head, "?", keys, ")");
            let statement = node.into_iter().fold(statement, Statement::led);
            work.execute(statement).await?;
        }
    }
    Ok(())
}

/// In the order of the primary key, for page locality.
fn sort(rows: &mut [(NodeKey, KeyHash)]) {
    rows.sort_unstable_by_key(|(node, key)| (node.space, *key, node.holder));
}
