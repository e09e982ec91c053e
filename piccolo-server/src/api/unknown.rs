//! Answers unknown paths and methods.

use axum::response::Response;
use http::{Method, StatusCode, Uri};
use piccolo_api::ErrorReply;

use crate::api::reply;

/// A path that no call has.
pub(crate) async fn path(uri: Uri) -> Response {
    let path = shortened(uri.path());
    let error = format!("there is no call {path}");
    reply::json(StatusCode::NOT_FOUND, &ErrorReply { error })
}

/// A method that the call at this path does not have; the header `Allow` names those that it has.
pub(crate) async fn method(method: Method, uri: Uri) -> Response {
    let path = shortened(uri.path());
    let method = shortened(method.as_str());
    let error = format!("{path} does not take {method}");
    reply::json(StatusCode::METHOD_NOT_ALLOWED, &ErrorReply { error })
}

/// The beginning of a caller's text, which may be long; a URI is ASCII.
fn shortened(text: &str) -> &str {
    const MAX_LENGTH: usize = 200;
    text.get(..MAX_LENGTH).unwrap_or(text)
}
