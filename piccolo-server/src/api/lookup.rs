//! Common parts of the calls that look keys up: the requester, the database of the group's keys, and
//! why a lookup failed.

use std::net::{IpAddr, SocketAddr};

use axum::response::Response;
use http::StatusCode;
use piccolo_api::{Group, NameError};

use crate::{
    api::{Api, reply},
    database::Database,
    finder::Asker,
    spaces::ByFamily,
    store::StoreError,
};

/// Why a find failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("Wrong request format: {0}")]
    Query(String),
    #[error("Wrong request format: {0}")]
    Name(#[from] NameError),
    #[error("{got} keys in one find, at most {most} are taken")]
    TooManyKeys { got: usize, most: usize },
    #[error("group {0} is not served here")]
    UnknownGroup(Group),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Holders that are answered where the call does not say how many.
const DEFAULT_COUNT: u32 = 100;

/// The requester, at the address that the call names or else at the caller's, and how many holders it
/// gets: as many as it asks for, within the limit.
pub(super) fn asker(
    api: &Api,
    host: Option<IpAddr>,
    caller: SocketAddr,
    count: Option<i64>,
) -> Asker {
    let count = match count {
        Some(count) if count > 0 => u32::try_from(count).unwrap_or(u32::MAX),
        _ => DEFAULT_COUNT,
    };
    Asker {
        ip: host.unwrap_or(caller.ip()).to_canonical(),
        count: count.min(api.limits.count),
    }
}

/// The database of a group, and the group's spaces in it.
pub(super) fn place<'a>(
    api: &'a Api,
    group: &Group,
) -> Result<(&'a Database, ByFamily), FindError> {
    let database = api.databases.of(group);
    let database = database.ok_or_else(|| FindError::UnknownGroup(group.clone()))?;
    Ok((database, database.spaces(group)))
}

impl FindError {
    pub(crate) fn reply(&self) -> Response {
        let status = match self {
            Self::Query(_) | Self::Name(_) | Self::UnknownGroup(_) => StatusCode::BAD_REQUEST,
            Self::TooManyKeys { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Store(error) => reply::store_status(error),
        };
        reply::failed(status, self.to_string())
    }
}
