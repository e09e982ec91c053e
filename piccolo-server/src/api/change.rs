//! Changes of a node's set: who may make how much, and what became of it.

use daemon::{metric::Metric, spell::Spell};
use metrics::counter;
use piccolo_api::{Group, Load};
use tracing::warn;

use crate::{
    api::{
        Api,
        speaker::Speaker,
        subject::{Subject, SubjectError},
    },
    nodes::{Admission, CapError, Node, Plan},
    packed::{Family, Packed},
    store::{Change, ChangeKind, ChangeOutcome, NodeKey, StoreError, Version},
};

const REFUSED: &str = "piccolo_server_caps_refused_total";

/// What this module counts.
pub(crate) const METRIC: Metric = Metric::counter(
    REFUSED,
    &[(
        "cap",
        "`nodes_per_address`, `nodes_per_group`, `keys_per_address`, `keys_per_node`, \
         `groups_per_address` (the flags of these names), `groups` (4,096 in all)",
    )],
    "Changes of nodes' sets that were refused because there would be too many nodes, keys or groups.",
);

/// The warnings about what is too much.
#[derive(Debug)]
pub(crate) struct Refusals(Spell);

impl Refusals {
    pub(crate) fn new() -> Self {
        let over = "no nodes, keys or groups are refused any more";
        Self(Spell::new(over))
    }

    fn happened(
        &self,
        subject: &Subject,
        speaker: Option<&Speaker>,
        error: SubjectError,
    ) -> SubjectError {
        let cap = match &error {
            SubjectError::Cap(CapError::NodesOfAddress { .. }) => "nodes_per_address",
            SubjectError::Cap(CapError::NodesOfGroup { .. }) => "nodes_per_group",
            SubjectError::Cap(CapError::KeysOfAddress { .. }) => "keys_per_address",
            SubjectError::Cap(CapError::GroupsOfAddress { .. }) => "groups_per_address",
            SubjectError::KeysOfNode { .. } => "keys_per_node",
            SubjectError::Store(StoreError::TooManySpaces) => "groups",
            _ => return error,
        };
        counter!(REFUSED, "cap" => cap).increment(1);
        self.0.happened(|times| {
            let (holder, group) = (subject.holder, &subject.group);
            let caller = speaker.map(|speaker| speaker.address.ip().to_canonical());
            warn!(%holder, %group, ?caller, times, %error, "what a node has was not taken");
        });
        error
    }
}

/// Stores a change of the subject's set, then notes the node's load: a new node is known only after
/// its change is stored.
pub(crate) async fn apply(
    api: &Api,
    subject: &Subject,
    speaker: Option<&Speaker>,
    (version, kind): (Option<Version>, ChangeKind),
    load: Option<Load>,
) -> Result<ChangeOutcome, SubjectError> {
    let stored = store(api, subject, (version, kind)).await;
    let outcome = stored.map_err(|error| api.refusals.happened(subject, speaker, error))?;
    if let (Some(load), Some(node)) = (load, subject.node) {
        let note = |node: &Node| node.report_load(load);
        subject.database.nodes().note(node, note);
    }
    Ok(outcome)
}

async fn store(
    api: &Api,
    subject: &Subject,
    (version, kind): (Option<Version>, ChangeKind),
) -> Result<ChangeOutcome, SubjectError> {
    let keys = growth(&kind);
    let most = api.limits.keys_per_node;
    if keys > most {
        return Err(SubjectError::KeysOfNode { most });
    }
    let makes_node = Change::makes_node(version, &kind);
    let group = (makes_node && subject.node.is_none()).then(|| new_group(subject));
    let plan = Plan {
        source: subject.source,
        is_new_node: makes_node,
        keys: keys.into(),
        is_whole_set: matches!(kind, ChangeKind::Replace(_)),
        group,
    };
    let nodes = subject.database.nodes();
    let admission = nodes.admit(subject.node, plan, subject.is_own_address)?;
    let Some(node) = node(subject, makes_node, &admission).await? else {
        return Ok(ChangeOutcome::Gap);
    };
    let change = Change {
        node,
        version,
        kind,
    };
    match subject.database.apply(change, Some(admission)).await? {
        ChangeOutcome::TooManyKeys => Err(SubjectError::KeysOfNode { most }),
        outcome => Ok(outcome),
    }
}

/// The node's key, in a group that is made where the change may make one.
async fn node(
    subject: &Subject,
    makes_node: bool,
    admission: &Admission,
) -> Result<Option<NodeKey>, StoreError> {
    let (group, holder) = (&subject.group, subject.holder);
    if makes_node {
        let made = subject.database.new_node_key(group, holder, admission);
        return made.await.map(Some);
    }
    match subject.node {
        Some(node) => Ok(Some(node)),
        None => subject.database.node_key(group, holder).await,
    }
}

fn new_group(subject: &Subject) -> (Group, Family) {
    let family = Packed::from(subject.holder).family();
    (subject.group.clone(), family)
}

/// Keys that the node may have more afterwards.
fn growth(kind: &ChangeKind) -> u32 {
    let keys = match kind {
        ChangeKind::Delta { added, .. } => added.len(),
        ChangeKind::Replace(keys) => keys.len(),
        ChangeKind::Leave | ChangeKind::Return => 0,
    };
    u32::try_from(keys).unwrap_or(u32::MAX)
}
