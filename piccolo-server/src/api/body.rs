//! Reading a request's body.

use std::{net::SocketAddr, time::Duration};

use crate::api::{Api, bodies::Room};
use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{ConnectInfo, Request},
};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use piccolo_api::from_go;
use serde::de::DeserializeOwned;

/// A body that takes longer ends the call, so that slow callers do not pile up, and a server that
/// goes down need not wait for them.
const DEADLINE: Duration = Duration::from_secs(5);

/// Deadline for draining the rest of a rejected body.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a keepalive or a farewell. A report of 512 failures and as many observations fits.
const SMALL: usize = 256 << 10;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is longer than any call has to be.
    #[error("Wrong request format: the body is longer than {most} bytes, which is the most taken")]
    TooLong { most: usize },
    /// The bodies being read fill the memory reserved for all bodies, or for this caller's.
    #[error("too many calls at once; try again in a second")]
    Busy,
    /// It broke off.
    #[error("Wrong request format: the body broke off")]
    Broken(#[source] axum::Error),
    /// It arrived too slowly.
    #[error("Wrong request format: the body did not arrive within {DEADLINE:?}")]
    Slow,
    /// It is not a valid message of the call.
    #[error("Wrong request format: {0}")]
    Json(#[source] serde_json::Error),
}

/// The caller's address.
pub(crate) fn caller(request: &Request) -> Option<SocketAddr> {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map(|ConnectInfo(caller)| *caller)
}

/// The request's body as `T`, parsed as leniently as the Go server does: field names in any case, the last
/// of several members of one name, any content type, trailing bytes ignored.
pub(crate) async fn read<T: DeserializeOwned>(api: &Api, request: Request) -> Result<T, BodyError> {
    read_within(api, request, api.limits.body).await
}

/// The same of a call that is small whatever the node has.
pub(crate) async fn read_small<T: DeserializeOwned>(
    api: &Api,
    request: Request,
) -> Result<T, BodyError> {
    read_within(api, request, api.limits.body.min(SMALL)).await
}

async fn read_within<T: DeserializeOwned>(
    api: &Api,
    request: Request,
    most: usize,
) -> Result<T, BodyError> {
    let (bytes, _room) = match tokio::time::timeout(DEADLINE, collect(api, request, most)).await {
        Ok(collected) => collected?,
        Err(_) => return Err(BodyError::Slow),
    };
    from_go(&bytes).map_err(BodyError::Json)
}

/// The whole body, and the room that it takes as long as it is kept. Only bytes that have arrived
/// take room, so a slow sender takes none from others.
async fn collect(api: &Api, request: Request, most: usize) -> Result<(Bytes, Room<'_>), BodyError> {
    let mut room = api.bodies.room(caller(&request));
    let waits = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > most {
        // A client that sent `Expect: 100-continue` has sent no body yet.
        if !waits {
            discard(&mut body, most).await;
        }
        return Err(BodyError::TooLong { most });
    }
    let mut parts: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        length += part.len();
        if length > most {
            discard(&mut body, most).await;
            return Err(BodyError::TooLong { most });
        }
        if !room.grow(length) {
            drop(parts);
            discard(&mut body, most).await;
            return Err(BodyError::Busy);
        }
        parts.push(part);
    }
    let bytes = match <[Bytes; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => parts.concat().into(),
    };
    Ok((bytes, room))
}

/// Drains the rest of a rejected body, at most twice the limit: a client in the middle of sending
/// reads the reply only after that.
async fn discard(body: &mut Body, most: usize) {
    let mut left = most.saturating_mul(2);
    let rest = async {
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    // The error is known already; draining does not change it.
    let _ = tokio::time::timeout(PATIENCE, rest).await;
}

impl BodyError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) | Self::Json(_) => StatusCode::BAD_REQUEST,
        }
    }
}
