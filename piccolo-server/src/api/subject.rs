//! The node that a call is about.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::response::Response;
use daemon::{metric::Metric, serve::network, spell::Spell};
use http::StatusCode;
use metrics::counter;
use piccolo_api::{Group, Holder, HolderError, Key, NameError};
use tracing::warn;

use crate::{
    api::{
        Api,
        body::BodyError,
        bounds::BoundError,
        reply,
        speaker::{Speaker, SpeakerError},
    },
    database::Database,
    instances::StrangerError,
    key_hash::KeyHash,
    nodes::CapError,
    packed::{Family, Packed},
    store::{NodeKey, StoreError},
    writer::ChangeError,
};

const FOREIGN: &str = "piccolo_server_foreign_holders_total";

/// What this module counts.
pub(crate) const METRIC: Metric = Metric::counter(
    FOREIGN,
    &[],
    "Calls about a holder that is no address of the caller; `--bind-holder` refuses them.",
);

/// A node, and the database that keeps it.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) database: Arc<Database>,
    pub(crate) group: Group,
    /// Its key; `None` where its group is not known.
    pub(crate) node: Option<NodeKey>,
    pub(crate) holder: Holder,
    /// The address of the call, as [`network`] counts it.
    pub(crate) source: IpAddr,
    /// Whether the call is from the holder's own address.
    pub(crate) is_own_address: bool,
}

/// Why a call about a node failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubjectError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("Wrong request format: {0}")]
    Name(#[from] NameError),
    #[error("Wrong request format: {0}")]
    Holder(#[from] HolderError),
    #[error("Wrong request format: {got} keys in one call, at most {most} are taken")]
    TooManyKeys { got: usize, most: usize },
    #[error("No operation needed")]
    Nothing,
    #[error("group {0} is not served here")]
    UnknownGroup(Group),
    #[error(transparent)]
    Cap(#[from] CapError),
    #[error("a node may have {most} keys, and this one would have more (--keys-per-node)")]
    KeysOfNode { most: u32 },
    #[error(
        "holder {holder} is not an address of the caller, {caller}; this server takes nobody's \
         word for another host (--bind-holder)"
    )]
    Foreign { holder: Holder, caller: IpAddr },
    #[error(transparent)]
    Bound(#[from] BoundError),
    #[error(transparent)]
    Stranger(#[from] StrangerError),
    #[error(transparent)]
    Speaker(#[from] SpeakerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl Subject {
    /// Checks a call's description of its node. Makes neither the node nor its group.
    pub(crate) fn of(
        api: &Api,
        speaker: Option<&Speaker>,
        group: &str,
        holder: &str,
    ) -> Result<Self, SubjectError> {
        Self::named(api, speaker, group.parse()?, holder.parse()?)
    }

    /// The same of names that were read already.
    pub(crate) fn named(
        api: &Api,
        speaker: Option<&Speaker>,
        group: Group,
        holder: Holder,
    ) -> Result<Self, SubjectError> {
        let foreign = check(api, speaker, &group, holder)?;
        let database = api.databases.of(&group);
        let unknown = || SubjectError::UnknownGroup(group.clone());
        let database = Arc::clone(database.ok_or_else(unknown)?);
        let packed = Packed::from(holder);
        let space = database.spaces(&group).of(packed.family());
        let node = space.map(|space| NodeKey {
            space,
            holder: packed,
        });
        let caller = speaker.map(|speaker| speaker.address.ip());
        let address = caller.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let subject = Self {
            database,
            group,
            node,
            holder,
            source: network(address),
            is_own_address: foreign.is_none(),
        };
        // A bridge or a gateway may speak for the agents behind it; another node may not.
        if let Some(caller) = foreign.filter(|caller| subject.knows(*caller)) {
            api.foreign.taken(holder, caller);
        }
        Ok(subject)
    }

    /// Looks for its group in the store where it is not known here: another instance may have made it a
    /// moment ago.
    pub(crate) async fn find(
        api: &Api,
        speaker: Option<&Speaker>,
        group: &str,
        holder: &str,
    ) -> Result<Self, SubjectError> {
        let mut subject = Self::of(api, speaker, group, holder)?;
        if subject.node.is_none() {
            let found = subject.database.node_key(&subject.group, subject.holder);
            subject.node = found.await?;
        }
        Ok(subject)
    }

    /// Whether the node has announced itself, to this instance or to another one some seconds ago. Such a node
    /// counts towards the caps of its address and its group.
    pub(crate) fn has_announced(&self) -> bool {
        let nodes = self.database.nodes();
        self.node.is_some_and(|node| nodes.has(node))
    }

    /// Whether some node of its group is, or recently was, at an address.
    pub(crate) fn knows(&self, peer: IpAddr) -> bool {
        let space = self.database.spaces(&self.group).of(Family::of(peer));
        space.is_some_and(|space| self.database.nodes().knows(space, peer))
    }
}

/// Whether a caller may speak of `holder` in `group`; gives the caller where it is another host, and its
/// certificate does not say that it is the holder.
fn check(
    api: &Api,
    speaker: Option<&Speaker>,
    group: &Group,
    holder: Holder,
) -> Result<Option<IpAddr>, SubjectError> {
    let caller = speaker.map(|speaker| speaker.address.ip().to_canonical());
    if let Some(speaker) = speaker {
        speaker.may_speak(api, group.as_str(), Some(holder.ip()))?;
    }
    if let Some(caller) = caller {
        api.bounds.check(holder, caller)?;
    }
    let proves = speaker.is_some_and(|speaker| speaker.proves(holder.ip()));
    let foreign = caller.filter(|caller| *caller != holder.ip() && !proves);
    if let Some(caller) = foreign {
        counter!(FOREIGN).increment(1);
        if api.limits.bind_holder {
            api.foreign.refused(holder, caller);
            return Err(SubjectError::Foreign { holder, caller });
        }
    } else {
        api.foreign.is_well();
    }
    Ok(foreign)
}

/// The warnings about calls for other hosts.
#[derive(Debug)]
pub(crate) struct Foreign {
    taken: Spell,
    refused: Spell,
}

impl Foreign {
    pub(crate) fn new() -> Self {
        Self {
            taken: Spell::new("no node's address speaks for other nodes any more"),
            refused: Spell::new("no calls for other addresses are refused any more"),
        }
    }

    /// A node spoke for itself.
    fn is_well(&self) {
        self.taken.is_well();
        self.refused.is_well();
    }

    fn taken(&self, holder: Holder, caller: IpAddr) {
        self.taken.happened(|times| {
            warn!(
                %holder, %caller, times,
                "one node's address spoke for another node: an agent that pretends, or address \
                 translation between nodes"
            );
        });
    }

    fn refused(&self, holder: Holder, caller: IpAddr) {
        self.refused.happened(|times| {
            warn!(
                %holder, %caller, times,
                "a call for another address than the caller's was refused (--bind-holder)"
            );
        });
    }
}

/// The keys' hashes in their order, each once, without empty keys.
pub(crate) fn hashes(api: &Api, keys: &[String]) -> Result<Vec<KeyHash>, SubjectError> {
    let most = api.limits.keys;
    if keys.len() > most {
        return Err(SubjectError::TooManyKeys {
            got: keys.len(),
            most,
        });
    }
    let mut hashes = Vec::with_capacity(keys.len());
    for key in keys.iter().filter(|key| !key.is_empty()) {
        // Most keys are digests, and a digest is a good key.
        let hash = match KeyHash::of_digest(key) {
            Some(hash) => hash,
            None => KeyHash::of(key.parse::<Key>()?.as_str()),
        };
        hashes.push(hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    Ok(hashes)
}

impl SubjectError {
    pub(crate) fn reply(&self) -> Response {
        let status = match self {
            Self::Body(error) => error.status(),
            Self::Name(_)
            | Self::Holder(_)
            | Self::Nothing
            | Self::UnknownGroup(_)
            | Self::Bound(_) => StatusCode::BAD_REQUEST,
            Self::TooManyKeys { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cap(_) | Self::KeysOfNode { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Foreign { .. } | Self::Stranger(_) => StatusCode::FORBIDDEN,
            Self::Speaker(error) => error.status(),
            Self::Change(ChangeError::Full | ChangeError::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Store(error) => reply::store_status(error),
            Self::Change(ChangeError::Store(error)) => reply::store_status(error),
        };
        reply::refused(status, self.to_string())
    }
}
