//! GET healthz: the process lives.

use axum::response::Response;
use http::StatusCode;
use piccolo_api::HealthReply;

use crate::api::reply;

pub(crate) async fn handle() -> Response {
    reply::json(
        StatusCode::OK,
        &HealthReply {
            message: "ok".to_owned(),
        },
    )
}
