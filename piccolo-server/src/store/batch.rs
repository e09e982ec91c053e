//! Applying changes of many nodes in one transaction and few statements.
//!
//! The nodes' rows are locked first, in their order, and every row of a node's set is written only
//! under the lock of its node: so two instances neither write the same rows nor wait for each
//! other in a circle, and a fingerprint is always that of the rows.

use std::collections::{HashMap, HashSet};

use crate::{
    key_hash::{Fingerprint, KeyHash},
    patience::Agent,
    store::{
        Applied, Change, ChangeKind, ChangeOutcome, NodeKey, NodeRow, NodeState, Stamp, StoreError,
        Taken, Version,
        engine::{Engine, Work},
        held,
        retry::retried,
        rows, sets,
        statement::{Arg, ROWS, Statement, in_space, node_args},
    },
};

/// The epoch of a set whose version is not known; without a seq it counts as none.
const UNKNOWN: u64 = 0;

pub(super) async fn write<E: Engine>(
    engine: &E,
    changes: &[Change],
    taken: Taken,
) -> Result<Vec<ChangeOutcome>, StoreError> {
    retried::<E, _, _>(|| attempt(engine, changes, taken))
        .await
        .map_err(|e| StoreError::of("take changes", e))
}

async fn attempt<E: Engine>(
    engine: &E,
    changes: &[Change],
    taken: Taken,
) -> Result<Vec<ChangeOutcome>, sqlx::Error> {
    let mut settled = unchanged(engine, changes, taken).await?;
    if settled.is_empty() {
        return transact(engine, changes, taken).await;
    }
    let rest: Vec<Change> = changes
        .iter()
        .filter(|change| !settled.contains_key(&change.node))
        .cloned()
        .collect();
    let mut transacted = Vec::new();
    if !rest.is_empty() {
        transacted = transact(engine, &rest, taken).await?;
    }
    let mut transacted = transacted.into_iter();
    let outcome = |change: &Change| settled.remove(&change.node).or_else(|| transacted.next());
    Ok(changes.iter().filter_map(outcome).collect())
}

/// Handles whole sets that equal the stored ones: one read, no locks.
async fn unchanged<E: Engine>(
    engine: &E,
    changes: &[Change],
    taken: Taken,
) -> Result<HashMap<NodeKey, ChangeOutcome>, sqlx::Error> {
    let is_whole = |change: &&Change| matches!(change.kind, ChangeKind::Replace(_));
    let mut nodes: Vec<NodeKey> = changes
        .iter()
        .filter(is_whole)
        .map(|change| change.node)
        .collect();
    nodes.sort_unstable();
    let head = format!(
        "SELECT {} FROM node WHERE space = ? AND holder IN (",
        rows::NODE
    );
    let mut known = HashMap::new();
    for of_space in nodes.chunk_by(|one, next| one.space == next.space) {
        for chunk in of_space.chunks(ROWS) {
            let rows = engine.rows(in_space(&head, chunk, ")"), rows::node).await?;
            known.extend(rows.into_iter().map(|row| (row.key, row)));
        }
    }
    let mut settled = HashMap::new();
    for change in changes {
        let (ChangeKind::Replace(keys), Some(row)) = (&change.kind, known.get(&change.node)) else {
            continue;
        };
        if row.held != Fingerprint::of(keys) {
            continue;
        }
        let is_late =
            matches!((change.version, row.version), (Some(new), Some(old)) if new.is_before(old));
        let mut applied = Applied {
            version: if is_late { row.version } else { change.version },
            agent: agent(change, Some(row)),
            held: row.held,
            ..Applied::default()
        };
        applied.written = written(change, Some(row), &applied, taken);
        if applied.written.is_none() {
            settled.insert(change.node, ChangeOutcome::Done(applied));
        }
    }
    Ok(settled)
}

async fn transact<E: Engine>(
    engine: &E,
    changes: &[Change],
    taken: Taken,
) -> Result<Vec<ChangeOutcome>, sqlx::Error> {
    let mut work = engine.begin().await?;
    let known = lock::<E>(&mut work, changes, taken.stamp).await?;
    let held = held::read::<E>(&mut work, changes, &known).await?;
    let outcomes: Vec<ChangeOutcome> = changes
        .iter()
        .map(|change| {
            let (row, held) = (known.get(&change.node), held.get(&change.node));
            outcome(change, row, held, taken)
        })
        .collect();
    sets::insert::<E>(&mut work, changes, &outcomes).await?;
    sets::delete::<E>(&mut work, changes, &outcomes).await?;
    update::<E>(&mut work, changes, &outcomes, taken.stamp).await?;
    work.commit().await?;
    Ok(outcomes)
}

/// The nodes' rows, locked, and created if missing where the change makes its node.
async fn lock<E: Engine>(
    work: &mut E::Work,
    changes: &[Change],
    stamp: Stamp,
) -> Result<HashMap<NodeKey, NodeRow>, sqlx::Error> {
    let mut nodes: Vec<NodeKey> = changes.iter().map(|change| change.node).collect();
    nodes.sort_unstable();
    let by_key = |rows: Vec<NodeRow>| rows.into_iter().map(|row| (row.key, row));
    let mut known: HashMap<NodeKey, NodeRow> =
        by_key(lock_nodes::<E>(work, &nodes).await?).collect();
    let makes = |change: &&Change| Change::makes_node(change.version, &change.kind);
    let made: HashSet<NodeKey> = changes.iter().filter(makes).map(|made| made.node).collect();
    nodes.retain(|node| !known.contains_key(node) && made.contains(node));
    if nodes.is_empty() {
        return Ok(known);
    }
    let columns = " INTO node (space, holder, seen, stamp, writer, state, held, digest) VALUES ";
    let head = [E::DIALECT.insert_ignore, columns].concat();
    for chunk in nodes.chunks(ROWS) {
        let rows = chunk.iter().map(|node| {
            let [space, holder] = node_args(*node);
            [
                space,
                holder,
                stamp.at.into(),
                stamp.at.into(),
                stamp.writer.0.into(),
            ]
        });
        let row = "(?,?,?,?,?,0,0,x'00000000000000000000000000000000')";
        work.execute(Statement::repeated(&head, row, rows, ""))
            .await?;
    }
    known.extend(by_key(lock_nodes::<E>(work, &nodes).await?));
    Ok(known)
}

/// Those of the nodes' rows that are there, locked. The nodes have to be sorted.
pub(super) async fn lock_nodes<E: Engine>(
    work: &mut E::Work,
    nodes: &[NodeKey],
) -> Result<Vec<NodeRow>, sqlx::Error> {
    let head = format!(
        "SELECT {} FROM node WHERE space = ? AND holder IN (",
        rows::NODE
    );
    let tail = [") ORDER BY holder", E::DIALECT.for_update].concat();
    let mut locked = Vec::with_capacity(nodes.len());
    for of_space in nodes.chunk_by(|one, next| one.space == next.space) {
        for chunk in of_space.chunks(ROWS) {
            let statement = in_space(&head, chunk, &tail);
            locked.extend(work.rows(statement, rows::node).await?);
        }
    }
    Ok(locked)
}

fn outcome(
    change: &Change,
    row: Option<&NodeRow>,
    held: Option<&HashSet<KeyHash>>,
    taken: Taken,
) -> ChangeOutcome {
    let stored = row.and_then(|row| row.version);
    let mut applied = Applied {
        // After an unnumbered change, no numbered one can continue the set.
        version: change.version,
        agent: agent(change, row),
        held: row.map(|row| row.held).unwrap_or_default(),
        ..Applied::default()
    };
    let has = |key: &KeyHash| held.is_some_and(|held| held.contains(key));
    if row.is_none() && matches!(change.kind, ChangeKind::Leave | ChangeKind::Return) {
        return ChangeOutcome::Gap;
    }
    match (&change.kind, change.version, stored) {
        (ChangeKind::Leave | ChangeKind::Return, ..) => applied.version = stored,
        // A late duplicate was already applied.
        (ChangeKind::Delta { .. } | ChangeKind::Replace(_), Some(new), Some(old))
            if new.is_before(old) =>
        {
            applied.version = stored;
        }
        // The reply was lost, so the change is repeated, possibly with more keys.
        (ChangeKind::Delta { added, removed }, Some(new), Some(old)) if new == old => {
            if !added.iter().all(has) || removed.iter().any(has) {
                return ChangeOutcome::Gap;
            }
        }
        (ChangeKind::Delta { .. }, Some(new), old) if !new.continues(old) => {
            return ChangeOutcome::Gap;
        }
        (ChangeKind::Delta { added, removed }, ..) => {
            applied.added = added.iter().copied().filter(|key| !has(key)).collect();
            applied.removed = removed.iter().copied().filter(has).collect();
            applied.held.add(&applied.added);
            applied.held.remove(&applied.removed);
        }
        (ChangeKind::Replace(keys), ..) => {
            let wanted: HashSet<KeyHash> = keys.iter().copied().collect();
            applied.added = keys.iter().copied().filter(|key| !has(key)).collect();
            let gone = held
                .into_iter()
                .flatten()
                .filter(|key| !wanted.contains(key));
            applied.removed = gone.copied().collect();
            applied.held = Fingerprint::of(keys);
        }
    }
    if !applied.added.is_empty() && applied.held.count > taken.keys_per_node {
        return ChangeOutcome::TooManyKeys;
    }
    applied.written = written(change, row, &applied, taken);
    ChangeOutcome::Done(applied)
}

/// What the node's agent is after a change. A set without a number is a Go agent's. A few keys without one
/// are as well where the node is new, or where another agent has left; else they need not be the agent's.
fn agent(change: &Change, row: Option<&NodeRow>) -> Agent {
    let known = row.filter(|row| row.state != NodeState::Left);
    match (&change.kind, change.version) {
        (ChangeKind::Leave | ChangeKind::Return, _) => row.map_or(Agent::Go, |row| row.agent),
        (ChangeKind::Delta { .. } | ChangeKind::Replace(_), Some(_)) => Agent::Own,
        (ChangeKind::Delta { .. }, None) => known.map_or(Agent::Go, |row| row.agent),
        (ChangeKind::Replace(_), None) => Agent::Go,
    }
}

/// The keepalive to write with the node's row. A row that did not change is not written: its
/// keepalive is, with those of other nodes, when it is worth it. But a node that was silent is
/// written at once, before another instance takes its rows away.
fn written(change: &Change, row: Option<&NodeRow>, applied: &Applied, taken: Taken) -> Option<i64> {
    let now = taken.stamp.at;
    let Some(row) = row else {
        return Some(now);
    };
    // Clocks of instances may differ by as much as a node may be silent.
    let latest = now.saturating_add(now.saturating_sub(taken.alive_since));
    let seen = if row.seen > latest { now - 1 } else { row.seen };
    // A timestamp above the stored one, even if the clock that wrote it ran ahead.
    let since = match row.state {
        NodeState::Up => seen,
        NodeState::Left | NodeState::Broken => seen.saturating_add(1),
    };
    match change.kind {
        // Keepalives still in flight are older than the node's leave.
        ChangeKind::Leave => Some(now.max(seen.saturating_add(1))),
        ChangeKind::Return => Some(now.max(since)),
        ChangeKind::Delta { .. } | ChangeKind::Replace(_) => {
            let same = applied.added.is_empty()
                && applied.removed.is_empty()
                && applied.version == row.version
                && applied.agent == row.agent
                && row.state == NodeState::Up
                && (taken.alive_since..=latest).contains(&row.seen);
            (!same).then(|| now.max(since))
        }
    }
}

impl ChangeKind {
    /// The state that it leaves the node in.
    pub(crate) fn state(&self) -> NodeState {
        match self {
            Self::Leave => NodeState::Left,
            Self::Delta { .. } | Self::Replace(_) | Self::Return => NodeState::Up,
        }
    }
}

impl Version {
    /// Whether it has the same epoch, and a lower seq.
    fn is_before(self, stored: Self) -> bool {
        self.epoch == stored.epoch && self.seq < stored.seq
    }

    fn continues(self, stored: Option<Self>) -> bool {
        stored
            .is_some_and(|old| old.epoch == self.epoch && old.seq.checked_add(1) == Some(self.seq))
    }
}

async fn update<E: Engine>(
    work: &mut E::Work,
    changes: &[Change],
    outcomes: &[ChangeOutcome],
    stamp: Stamp,
) -> Result<(), sqlx::Error> {
    let (before, after) = E::DIALECT.inserted;
    let set: Vec<String> = [
        "seen", "stamp", "writer", "state", "epoch", "seq", "held", "digest",
    ]
    .iter()
    .map(|column| format!("{column} = {before}{column}{after}"))
    .collect();
    let tail = format!("{} {}", E::DIALECT.on_known_node, set.join(", "));
    let done: Vec<_> = changes
        .iter()
        .zip(outcomes)
        .filter_map(|(change, outcome)| {
            let applied = outcome.applied()?;
            Some((change, applied, applied.written?))
        })
        .collect();
    for chunk in done.chunks(ROWS) {
        let rows = chunk
            .iter()
            .map(|(change, applied, seen)| node_row(change, applied, *seen, stamp));
        let head = "INSERT INTO node \
            (space, holder, seen, stamp, writer, state, epoch, seq, held, digest) VALUES ";
        let statement = Statement::repeated(head, "(?,?,?,?,?,?,?,?,?,?)", rows, &tail);
        work.execute(statement).await?;
    }
    Ok(())
}

fn node_row(change: &Change, applied: &Applied, seen: i64, stamp: Stamp) -> [Arg; 10] {
    let [space, holder] = node_args(change.node);
    let epoch = match (applied.version, applied.agent) {
        (Some(version), _) => Some(version.epoch),
        (None, Agent::Own) => Some(UNKNOWN),
        (None, Agent::Go) => None,
    };
    [
        space,
        holder,
        seen.into(),
        stamp.at.into(),
        stamp.writer.0.into(),
        i64::from(change.kind.state().byte()).into(),
        epoch.into(),
        applied.version.map(|version| version.seq).into(),
        i64::from(applied.held.count).into(),
        Arg::Hash(applied.held.sum.to_be_bytes()),
    ]
}
