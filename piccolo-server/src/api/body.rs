//! Reading a request's body.

use std::time::Duration;

use axum::{body::Bytes, extract::FromRequest as _, extract::Request};
use http::StatusCode;
use piccolo_api::from_any_case;
use serde::de::DeserializeOwned;

/// A body that takes longer ends the call, so that slow callers do not pile up.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It did not come, or was too long.
    #[error("Wrong request format: {message}")]
    Refused { status: StatusCode, message: String },
    /// It came too slowly.
    #[error("Wrong request format: the body did not arrive within {DEADLINE:?}")]
    Slow,
    /// It is not what the call takes.
    #[error("Wrong request format: {0}")]
    Json(#[source] serde_json::Error),
}

/// The request's body as `T`, with names in any case and whatever content type it claims, as the
/// Go server takes it.
pub(crate) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, BodyError> {
    let bytes = match tokio::time::timeout(DEADLINE, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(rejection)) => {
            let (status, message) = (rejection.status(), rejection.body_text());
            return Err(BodyError::Refused { status, message });
        }
        Err(_) => return Err(BodyError::Slow),
    };
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = from_any_case(&mut reader).map_err(BodyError::Json)?;
    reader.end().map_err(BodyError::Json)?;
    Ok(value)
}

impl BodyError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Json(_) => StatusCode::BAD_REQUEST,
        }
    }
}
