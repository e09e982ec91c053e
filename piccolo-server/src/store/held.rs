//! Which keys of the changed sets are already stored.

use std::collections::{HashMap, HashSet};

use crate::{
    key_hash::{Fingerprint, KeyHash},
    store::{
        Change, ChangeKind, NodeKey, NodeRow,
        engine::{Columns, Engine, Work},
        rows,
        statement::{Arg, Statement, in_space, node_args},
    },
};

/// The keys that nodes hold, of those that were queried.
pub(super) type Held = HashMap<NodeKey, HashSet<KeyHash>>;

/// Reads the keys of a delta, or the whole set for a replacement that differs from the stored set.
pub(super) async fn read<E: Engine>(
    work: &mut E::Work,
    changes: &[Change],
    known: &HashMap<NodeKey, NodeRow>,
) -> Result<Held, sqlx::Error> {
    let mut held = Held::new();
    let mut wanted = Vec::new();
    let mut whole = Vec::new();
    for change in changes {
        match &change.kind {
            ChangeKind::Delta { added, removed } => {
                wanted.extend(added.iter().chain(removed).map(|key| (change.node, *key)));
            }
            ChangeKind::Replace(keys) => {
                let stored = known.get(&change.node).map(|row| row.held);
                if stored == Some(Fingerprint::of(keys)) {
                    held.insert(change.node, keys.iter().copied().collect());
                } else {
                    whole.push((change.node, stored.unwrap_or_default().count));
                }
            }
            ChangeKind::Leave | ChangeKind::Return => {}
        }
    }
    whole.sort_unstable();
    read_whole::<E>(work, &whole, &mut held).await?;
    for pieces in pieces(&wanted).chunks(PIECES) {
        for (node, key) in work
            .rows(which_are_held(E::DIALECT.by_node, pieces), rows::holding)
            .await?
        {
            held.entry(node).or_default().insert(key);
        }
    }
    Ok(held)
}

/// Nodes of one statement.
const NODES: usize = 32;

/// Whole sets: in one value each, or as rows where a part of it did not come.
async fn read_whole<E: Engine>(
    work: &mut E::Work,
    nodes: &[(NodeKey, u32)],
    held: &mut Held,
) -> Result<(), sqlx::Error> {
    let is_missing = |held: &Held, node: &NodeKey, count: u32| {
        let found = held.get(node).map_or(0, HashSet::len);
        u32::try_from(found) != Ok(count)
    };
    let set = E::DIALECT.keys_in_one;
    let head = format!("SELECT space, holder, {set} FROM holding WHERE space = ? AND holder IN (");
    let tail = format!(") GROUP BY space, holder{}", E::DIALECT.unsorted);
    let all: Vec<NodeKey> = nodes.iter().map(|(node, _)| *node).collect();
    for chunk in chunks(&all) {
        let statement = in_space(&head, chunk, &tail);
        held.extend(work.rows(statement, whole_set).await?);
    }
    let missing: Vec<NodeKey> = nodes
        .iter()
        .filter(|(node, count)| is_missing(held, node, *count))
        .map(|(node, _)| *node)
        .collect();
    let head = "SELECT space, key_hash, holder FROM holding WHERE space = ? AND holder IN (";
    for chunk in chunks(&missing) {
        for (node, key) in work.rows(in_space(head, chunk, ")"), rows::holding).await? {
            held.entry(node).or_default().insert(key);
        }
    }
    Ok(())
}

/// At most [`NODES`] of one space.
fn chunks(nodes: &[NodeKey]) -> impl Iterator<Item = &[NodeKey]> {
    nodes
        .chunk_by(|one, next| one.space == next.space)
        .flat_map(|of_space| of_space.chunks(NODES))
}

/// Space, holder, and all its key hashes one after another.
fn whole_set(row: &dyn Columns) -> Result<(NodeKey, HashSet<KeyHash>), sqlx::Error> {
    let node = NodeKey {
        space: rows::space(row, 0)?,
        holder: rows::holder(row, 1)?,
    };
    let keys = row.bytes(2)?.chunks_exact(16);
    Ok((node, keys.filter_map(KeyHash::from_slice).collect()))
}

/// A query: which of these keys one node holds.
type Piece<'a> = &'a [(NodeKey, KeyHash)];

/// Keys of one piece, and pieces of one statement.
const PIECE: usize = 16;
const PIECES: usize = 32;

fn pieces(wanted: &[(NodeKey, KeyHash)]) -> Vec<Piece<'_>> {
    wanted
        .chunk_by(|(one, _), (next, _)| one == next)
        .flat_map(|of_node| of_node.chunks(PIECE))
        .collect()
}

/// One query for each piece, all in one statement: a single list of triples costs MariaDB many times
/// as much.
fn which_are_held(by_node: &str, pieces: &[Piece<'_>]) -> Statement {
    let keys = vec!["?"; PIECE].join(",");
    let query = format!(
        "SELECT space, key_hash, holder FROM holding{by_node} \
            WHERE space = ? AND holder = ? AND key_hash IN ({keys})"
    );
    Statement::union(
        &query,
        pieces.len(),
        pieces.iter().map(|piece| piece_args(piece)),
    )
}

/// The node, and the keys, of which the last stands for those that are missing.
fn piece_args(piece: Piece<'_>) -> Vec<Arg> {
    let Some((node, last)) = piece.last() else {
        return Vec::new();
    };
    let keys = piece.iter().map(|(_, key)| *key);
    let keys = keys.chain(std::iter::repeat(*last)).take(PIECE);
    node_args(*node)
        .into_iter()
        .chain(keys.map(Arg::from))
        .collect()
}
