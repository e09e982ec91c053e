//! The node that a call is about.

use std::{collections::HashSet, sync::Arc};

use axum::response::Response;
use http::StatusCode;
use piccolo_api::{Group, Holder, HolderError, Key, NameError};

use crate::{
    api::{Api, body::BodyError, reply},
    key_hash::KeyHash,
    realm::Realm,
    store::{NodeKey, StoreError},
    writer::ChangeError,
};

/// A node, and the realm that keeps it.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) realm: Arc<Realm>,
    pub(crate) node: NodeKey,
    pub(crate) holder: Holder,
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
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Change(#[from] ChangeError),
}

impl Subject {
    pub(crate) async fn new(api: &Api, group: &str, holder: &str) -> Result<Self, SubjectError> {
        let group: Group = group.parse()?;
        let holder: Holder = holder.parse()?;
        let realm = api.databases.realm(&group);
        let realm = Arc::clone(realm.ok_or_else(|| SubjectError::UnknownGroup(group.clone()))?);
        let node = realm.node(&group, holder).await?;
        Ok(Self {
            realm,
            node,
            holder,
        })
    }
}

/// The keys' hashes, each once, without empty keys.
pub(crate) fn hashes(api: &Api, keys: &[String]) -> Result<Vec<KeyHash>, SubjectError> {
    let most = api.limits.keys;
    if keys.len() > most {
        return Err(SubjectError::TooManyKeys {
            got: keys.len(),
            most,
        });
    }
    let mut seen = HashSet::with_capacity(keys.len());
    let mut hashes = Vec::with_capacity(keys.len());
    for key in keys.iter().filter(|key| !key.is_empty()) {
        let key: Key = key.parse()?;
        let hash = KeyHash::of(key.as_str());
        if seen.insert(hash) {
            hashes.push(hash);
        }
    }
    Ok(hashes)
}

impl SubjectError {
    pub(crate) fn reply(&self) -> Response {
        let status = match self {
            Self::Body(error) => error.status(),
            Self::Name(_) | Self::Holder(_) | Self::Nothing | Self::UnknownGroup(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::TooManyKeys { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Change(ChangeError::Full | ChangeError::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Store(_) | Self::Change(ChangeError::Store(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        reply::refused(status, self.to_string())
    }
}
