//! A JSON client, with a deadline on every call and bounded replies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};

use crate::tls::{Connector, Peer};

/// Largest reply that is read, in bytes.
const MAX_REPLY: usize = 8 << 20;

/// A client whose clones share their connections.
#[derive(Debug, Clone)]
pub struct JsonClient {
    /// Who is called.
    peer: Peer,
    /// Connect timeout.
    dial: Duration,
    /// Connections that are kept to each host.
    idle: usize,
    calls: Arc<RwLock<Calls>>,
}

type Calls = Client<Connector, Full<Bytes>>;

/// A reply: its status and its body.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request could not be built: a bad URL, or a body that is not JSON.
    #[error("the request to {url} could not be made")]
    Request {
        /// The URL of the call.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection, or one that broke.
    #[error("no reply from {url}")]
    Connection {
        /// The URL of the call.
        url: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The deadline passed.
    #[error("no reply from {url} within {deadline:?}")]
    Deadline {
        /// The URL of the call.
        url: String,
        /// The deadline that passed.
        deadline: Duration,
    },
}

/// A reply's body that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("the reply (status {status}) is not understood")]
pub struct ReplyError {
    status: StatusCode,
    #[source]
    source: serde_json::Error,
}

impl CallError {
    /// Whether the server may be there and merely took too long.
    pub fn is_late(&self) -> bool {
        match self {
            Self::Deadline { .. } => true,
            Self::Request { .. } => false,
            Self::Connection { source, .. } => {
                let mut error: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
                while let Some(one) = error {
                    let io = one.downcast_ref::<std::io::Error>();
                    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
                        return true;
                    }
                    error = one.source();
                }
                false
            }
        }
    }
}

impl JsonClient {
    /// A client for plain HTTP with a connect timeout of `dial` and a small connection pool.
    pub fn new(dial: Duration) -> Self {
        Self::of(Peer::default(), dial, 4)
    }

    /// A client of `peer` with a connect timeout of `dial` that keeps up to `idle` connections to each
    /// host.
    pub fn of(peer: Peer, dial: Duration, idle: usize) -> Self {
        Self {
            calls: Arc::new(RwLock::new(calls(peer.clone(), dial, idle))),
            peer,
            dial,
            idle,
        }
    }

    /// Uses none of its connections any more: this host has another address, and they have the one before.
    pub fn renew(&self) {
        *self.calls.write() = calls(self.peer.clone(), self.dial, self.idle);
    }

    /// Gets `url`.
    ///
    /// # Errors
    /// When there is no reply within `deadline`. Any status is a reply.
    pub async fn get(&self, url: &str, deadline: Duration) -> Result<Reply, CallError> {
        self.call(Method::GET, url, Bytes::new(), deadline).await
    }

    /// Posts `body` as JSON to `url`.
    ///
    /// # Errors
    /// When there is no reply within `deadline`. Any status is a reply.
    pub async fn post<B: Serialize + Sync>(
        &self,
        url: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Request {
            url: url.to_owned(),
            source: e.into(),
        })?;
        self.call(Method::POST, url, body.into(), deadline).await
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|e| CallError::Request {
                url: url.to_owned(),
                source: e.into(),
            })?;
        self.send(request, deadline).await
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// When there is no reply within `deadline`. Any status is a reply.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let request = request.map(Full::new);
        let url = request.uri().to_string();
        let called = self.calls.read().request(request);
        exchange(called, url, deadline).await
    }
}

/// Waits for the reply to a call.
pub(crate) async fn exchange(
    called: ResponseFuture,
    url: String,
    deadline: Duration,
) -> Result<Reply, CallError> {
    let broken = |source| CallError::Connection {
        url: url.clone(),
        source,
    };
    let exchange = async {
        let response = called.await.map_err(|e| broken(e.into()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY)
            .collect()
            .await
            .map_err(broken)?;
        Ok(Reply {
            status: head.status,
            body: body.to_bytes(),
        })
    };
    match tokio::time::timeout(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Deadline { url, deadline }),
    }
}

fn calls(peer: Peer, dial: Duration, idle: usize) -> Calls {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(dial));
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Shorter than the server's own idle timeout of four seconds.
        .pool_idle_timeout(Duration::from_secs(3))
        .pool_max_idle_per_host(idle)
        .build(Connector::new(connector, peer))
}

impl Reply {
    /// Reads the body.
    ///
    /// # Errors
    /// When the body is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        serde_json::from_slice(&self.body).map_err(|source| ReplyError {
            status: self.status,
            source,
        })
    }
}
