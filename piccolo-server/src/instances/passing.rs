//! Calls from one instance to another.

use std::time::Duration;

use bytes::Bytes;
use daemon::{
    client::{CallError, Reply},
    metric::Metric,
    telemetry::chain,
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use metrics::counter;
use tokio::time::Instant;
use tracing::warn;

use super::{Instances, Peer};

/// On a call that one instance passes on to another: the other one's secret. Such a call is answered by
/// who gets it, or refused, and never passed on again.
const PASSED_ON: &str = "piccolo-passed-on";

pub(super) const METRIC: Metric = Metric::counter(
    "piccolo_server_passed_on_total",
    &[(
        "outcome",
        "`ok`, `failed` (this instance, or the next one, decided in its place)",
    )],
    "Calls that were passed on to the instance that decides for their keys.",
);

/// An agent waits for two seconds, and may have to be answered without the other instance.
const DEADLINE: Duration = Duration::from_millis(500);

/// Why a call was not passed on.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("too many calls to the instance are in flight")]
    Full,
    #[error("the instance did not answer")]
    Call(#[source] CallError),
    #[error("the request could not be made")]
    Request(#[source] http::Error),
    #[error("the instance answered {0}")]
    Refused(StatusCode),
    #[error("the instance's answer is not understood")]
    Answer,
}

/// A call says that an instance passed it on, and none did that knows this one.
#[derive(Debug, thiserror::Error)]
#[error("this call was passed on by nobody that knows this instance (Piccolo-Passed-On)")]
pub(crate) struct StrangerError;

impl Instances {
    /// Whether a call was passed on to this instance, if it is `own` of several.
    ///
    /// # Errors
    /// When the call says so, and does not come from one that knows this instance.
    pub(crate) fn is_passed_on(
        own: Option<&Self>,
        headers: &HeaderMap,
    ) -> Result<bool, StrangerError> {
        let Some(said) = headers.get(PASSED_ON) else {
            return Ok(false);
        };
        let is_meant = |own: &Self| said.as_bytes() == spelt(own.secret).as_bytes();
        if own.is_some_and(is_meant) {
            Ok(true)
        } else {
            Err(StrangerError)
        }
    }

    /// Passes a call on, and reads the answer. `None` where there is none; the next calls then go
    /// elsewhere for a moment.
    pub(crate) async fn pass<T>(
        &self,
        peer: &Peer,
        (method, target): (Method, &str),
        body: Vec<u8>,
        read: impl FnOnce(Reply) -> Option<T>,
    ) -> Option<T> {
        let began = Instant::now();
        let answered = self.exchange(peer, (method, target), body).await;
        let read = answered.and_then(|reply| read(reply).ok_or(PassError::Answer));
        let outcome = if read.is_ok() { "ok" } else { "failed" };
        counter!(METRIC.name, "outcome" => outcome).increment(1);
        match read {
            Ok(answer) => {
                self.failing.is_well();
                peer.answered();
                Some(answer)
            }
            Err(error) => {
                if !matches!(error, PassError::Full) {
                    peer.failed(began, Instant::now());
                }
                self.failing.happened(|times| {
                    let (error, instance) = (chain(&error), peer.address());
                    warn!(%instance, %error, times, "another instance fails: this one decides in its place");
                });
                None
            }
        }
    }

    async fn exchange(
        &self,
        peer: &Peer,
        (method, target): (Method, &str),
        body: Vec<u8>,
    ) -> Result<Reply, PassError> {
        let _turn = peer.turns.try_acquire().map_err(|_full| PassError::Full)?;
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", peer.address()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(PASSED_ON, spelt(peer.row.secret))
            .body(Bytes::from(body))
            .map_err(PassError::Request)?;
        let reply = self.client.send(request, DEADLINE).await;
        let reply = reply.map_err(PassError::Call)?;
        match reply.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NOT_FOUND => Ok(reply),
            other => Err(PassError::Refused(other)),
        }
    }
}

/// Shows the outcomes before there are any.
pub(super) fn announce() {
    for outcome in ["ok", "failed"] {
        counter!(METRIC.name, "outcome" => outcome).increment(0);
    }
}

fn spelt(secret: i64) -> String {
    format!("{:016x}", secret.cast_unsigned())
}
