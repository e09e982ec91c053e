//! Replies as JSON, as the Go server labels them.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use piccolo_api::{Ack, ErrorReply};
use serde::Serialize;

use crate::store::StoreError;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A reply with `body` written as JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => written(status, bytes),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A reply whose body is JSON already.
pub(crate) fn written(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// What the calls that write answer when they failed.
pub(crate) fn refused(status: StatusCode, message: String) -> Response {
    let ack = Ack {
        success: false,
        message,
        ..Ack::default()
    };
    dated(json(status, &ack))
}

/// What the calls that read answer when they failed.
pub(crate) fn failed(status: StatusCode, error: String) -> Response {
    dated(json(status, &ErrorReply { error }))
}

/// Adds `Retry-After` to replies whose caller has to try again.
fn dated(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What a call fails with when the store did.
pub(crate) fn store_status(error: &StoreError) -> StatusCode {
    if error.is_refusal_for_now() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if matches!(error, StoreError::TooManySpaces) {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}
