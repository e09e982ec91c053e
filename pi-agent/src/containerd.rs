//! containerd over gRPC: the only module that knows of tonic.
//!
//! The channel connects when it is used and again after containerd was restarted; every call has
//! a deadline, so that a containerd that hangs costs the caller that long and no longer.

mod blobs;
mod events;
mod images;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use containerd_client::{
    services::v1::{
        PluginsRequest, introspection_client::IntrospectionClient, version_client::VersionClient,
    },
    tonic::{
        Code, Request, Status,
        metadata::{Ascii, MetadataValue},
        transport::{Channel, Endpoint},
    },
};
use daemon::{
    access::{Need, explain},
    metric::Metric,
};
use hyper_util::rt::TokioIo;

use crate::hosts::release::Release;

pub use self::{
    blobs::{BlobInfo, Chunks},
    events::{Event, Events},
    images::Image,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[RECONNECTS, events::LAG];

/// The follower of the events counts them.
pub(crate) const RECONNECTS: Metric = Metric::counter(
    "piccolo_agent_containerd_reconnects_total",
    &[],
    "How often the event stream of containerd was opened anew after it had ended.",
);

/// Longest wait for a call that is answered from containerd's memory or its small database.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest reply: a list of some ten thousand images.
const MAX_REPLY: usize = 64 << 20;

/// A client of one containerd. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Containerd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    channel: Channel,
    namespaces: Box<[Namespace]>,
}

/// A containerd namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
    header: MetadataValue<Ascii>,
}

/// The text is no namespace.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no containerd namespace: letters, digits and single -._ between them")]
pub struct NamespaceError(String);

/// Why a call to containerd has no result.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// No process answers on the socket.
    #[error("containerd cannot be reached")]
    Unreachable(#[source] Box<Status>),
    /// No answer in time.
    #[error("containerd did not answer within {DEADLINE:?}")]
    Deadline,
    /// containerd refuses.
    #[error("containerd refuses")]
    Refused(#[source] Box<Status>),
    /// The reply cannot be understood.
    #[error("containerd's answer lacks its {0}")]
    Answer(&'static str),
}

impl Containerd {
    /// A client of the containerd behind `socket`; it need not run yet. Call it within a runtime.
    ///
    /// # Errors
    /// When one of the namespaces has no valid name.
    pub fn new(socket: &Path, namespaces: &[String]) -> Result<Self, NamespaceError> {
        let namespaces = namespaces
            .iter()
            .map(|n| Namespace::new(n))
            .collect::<Result<_, _>>()?;
        let path: Arc<Path> = socket.into();
        // The address is never resolved: the connector knows the socket.
        let channel = Endpoint::from_static("http://containerd").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let path = Arc::clone(&path);
                async move {
                    let stream = tokio::net::UnixStream::connect(&path).await;
                    let stream = stream.map_err(|error| explain(error, &path, Need::Write))?;
                    Ok::<_, io::Error>(TokioIo::new(stream))
                }
            }),
        );
        Ok(Self(Arc::new(Inner {
            socket: socket.to_owned(),
            channel,
            namespaces,
        })))
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.0.socket
    }

    /// The namespaces whose images are shared.
    pub fn namespaces(&self) -> &[Namespace] {
        &self.0.namespaces
    }

    /// The version, which is also the cheapest liveness check.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn version(&self) -> Result<String, ContainerdError> {
        let mut client = VersionClient::new(self.channel());
        let reply = within(client.version(())).await?;
        Ok(reply.version)
    }

    /// The release of the containerd behind `socket`, if it answers with one.
    pub async fn release(socket: &Path) -> Option<Release> {
        let version = Self::new(socket, &[]).ok()?.version().await.ok()?;
        version.parse().ok()
    }

    /// The path of containerd's content store, from its own introspection.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn content_path(&self) -> Result<Option<PathBuf>, ContainerdError> {
        let mut client = IntrospectionClient::new(self.channel());
        let request = PluginsRequest {
            filters: vec!["type==io.containerd.content.v1,id==content".to_owned()],
        };
        let reply = within(client.plugins(request)).await?;
        let root = reply
            .plugins
            .into_iter()
            .find_map(|mut p| p.exports.remove("root"));
        Ok(root.map(PathBuf::from))
    }

    fn channel(&self) -> Channel {
        self.0.channel.clone()
    }
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Result<Self, NamespaceError> {
        let error = || NamespaceError(name.chars().take(80).collect());
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        let bytes = name.as_bytes();
        let good = edge(bytes.first().copied())
            && edge(bytes.last().copied())
            && name.len() <= 76
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b));
        if !good {
            return Err(error());
        }
        match name.parse() {
            Ok(header) => Ok(Self {
                name: name.to_owned(),
                header,
            }),
            Err(_) => Err(error()),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.header.clone());
        request
    }
}

impl From<Status> for ContainerdError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::Unknown => Self::Unreachable(Box::new(status)),
            Code::DeadlineExceeded => Self::Deadline,
            _ => Self::Refused(Box::new(status)),
        }
    }
}

async fn within<T>(
    call: impl Future<Output = Result<containerd_client::tonic::Response<T>, Status>>,
) -> Result<T, ContainerdError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(reply) => Ok(reply?.into_inner()),
        Err(_) => Err(ContainerdError::Deadline),
    }
}

/// `None` where containerd does not have the requested object.
fn found<T>(result: Result<T, ContainerdError>) -> Result<Option<T>, ContainerdError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ContainerdError::Refused(status)) if status.code() == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
