//! Calls over HTTPS to a server that is known by the authorities in a file, and is shown no certificate.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;

use crate::{
    client::{CallError, Reply, exchange},
    clock::Clock,
    tls::{MaterialError, trusting},
};

/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(20);

/// A client whose clones share their connections. The authorities are read again when they change.
#[derive(Debug, Clone)]
pub struct HttpsClient {
    authorities: PathBuf,
    dial: Duration,
    clock: Clock,
    current: Arc<Mutex<Option<Current>>>,
}

/// What the file had in it, and the connections that were made by it.
#[derive(Debug)]
struct Current {
    pem: Vec<u8>,
    calls: Calls,
}

type Calls = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// There is nobody whom the server could be trusted by.
    #[error(transparent)]
    Authorities(#[from] MaterialError),
    /// The call went wrong.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl HttpsClient {
    /// A client with a connect timeout of `dial`.
    pub fn new(authorities: PathBuf, dial: Duration, clock: Clock) -> Self {
        Self {
            authorities,
            dial,
            clock,
            current: Arc::default(),
        }
    }

    /// Sends a request, whose URL is one of HTTPS.
    ///
    /// # Errors
    /// When there is no reply within `deadline`. Any status is a reply.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> Result<Reply, HttpsError> {
        let calls = self.calls().await?;
        let url = request.uri().to_string();
        let called = calls.request(request.map(Full::new));
        Ok(exchange(called, url, deadline).await?)
    }

    async fn calls(&self) -> Result<Calls, MaterialError> {
        let pem = tokio::fs::read(&self.authorities).await;
        let pem = pem.map_err(|source| MaterialError::Read {
            path: self.authorities.clone(),
            source,
        })?;
        let mut current = self.current.lock();
        if let Some(current) = current.as_ref().filter(|current| current.pem == pem) {
            return Ok(current.calls.clone());
        }
        let config = trusting(&pem, &self.authorities, &self.clock)?;
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(self.dial));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let calls: Calls = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        *current = Some(Current {
            pem,
            calls: calls.clone(),
        });
        Ok(calls)
    }
}
