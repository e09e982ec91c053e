//! containerd's events, as far as they tell of images and content.

use std::{fmt, time::Duration};

use containerd_client::{
    services::v1::{SubscribeRequest, events_client::EventsClient},
    tonic::{Response, Status, Streaming},
    types::Envelope,
};
use daemon::metric::Metric;
use futures_util::{FutureExt as _, future::BoxFuture};
use prost::Message;

use super::{Containerd, ContainerdError};
use crate::digest::Digest;

pub(super) const LAG: Metric = Metric::histogram(
    "piccolo_agent_containerd_event_lag_seconds",
    &[],
    "From containerd's time stamp of an event to its handling here.",
);

/// What happened in containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An image was made or now points elsewhere.
    ImagePut {
        /// The namespace.
        namespace: String,
        /// The image.
        name: String,
    },
    /// An image is gone.
    ImageGone {
        /// The namespace.
        namespace: String,
        /// The image.
        name: String,
    },
    /// A blob was committed (containerd 2.x only).
    ContentPut(Digest),
    /// A blob was removed by name; garbage collection sends no event.
    ContentGone(Digest),
    /// A layer was unpacked, so that its blob was committed before.
    LayerUnpacked,
}

/// A stream of events.
pub struct Events(Stream);

/// containerd answers a subscription with its first event: the stream exists only from then on.
enum Stream {
    Opening(BoxFuture<'static, Result<Response<Streaming<Envelope>>, Status>>),
    Open(Box<Streaming<Envelope>>),
}

/// Image and content events all carry their name or digest as field 1.
#[derive(Clone, PartialEq, Eq, Message)]
struct Subject {
    #[prost(string, tag = "1")]
    text: String,
}

impl Containerd {
    /// Subscribes to the events of all namespaces, from now on.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn events(&self) -> Result<Events, ContainerdError> {
        let request = SubscribeRequest {
            filters: vec![
                r#"topic~="^/images/""#.to_owned(),
                r#"topic~="^/content/""#.to_owned(),
                r#"topic=="/snapshot/commit""#.to_owned(),
            ],
        };
        let mut client = EventsClient::new(self.channel());
        let mut opening = async move { client.subscribe(request).await }.boxed();
        // The subscription has been sent once another call on the same connection has a reply.
        let stream = tokio::select! {
            biased;
            opened = &mut opening => Stream::Open(Box::new(opened?.into_inner())),
            version = self.version() => {
                version?;
                Stream::Opening(opening)
            }
        };
        Ok(Events(stream))
    }
}

impl Events {
    /// The next event of interest; `now` reads the wall clock.
    ///
    /// # Errors
    /// When the stream broke; it ends without an error when containerd shuts down.
    pub async fn next(
        &mut self,
        now: impl Fn() -> Duration,
    ) -> Result<Option<Event>, ContainerdError> {
        loop {
            let Some(envelope) = self.0.message().await? else {
                return Ok(None);
            };
            if let Some(sent) = envelope
                .timestamp
                .and_then(|t| since_epoch(t.seconds, t.nanos))
            {
                metrics::histogram!(LAG.name).record(now().saturating_sub(sent).as_secs_f64());
            }
            if let Some(event) = read(envelope) {
                return Ok(Some(event));
            }
        }
    }
}

impl Stream {
    async fn message(&mut self) -> Result<Option<Envelope>, Status> {
        if let Self::Opening(opening) = self {
            let opened = opening.await?;
            *self = Self::Open(Box::new(opened.into_inner()));
        }
        match self {
            Self::Open(stream) => stream.message().await,
            // It was opened just now.
            Self::Opening(_) => Ok(None),
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

fn since_epoch(seconds: i64, nanos: i32) -> Option<Duration> {
    let seconds = u64::try_from(seconds).ok()?;
    let nanos = u32::try_from(nanos).ok()?;
    Some(Duration::new(seconds, nanos))
}

fn read(envelope: Envelope) -> Option<Event> {
    let subject = Subject::decode(envelope.event?.value.as_slice()).ok()?.text;
    let namespace = envelope.namespace;
    match envelope.topic.as_str() {
        "/images/create" | "/images/update" => Some(Event::ImagePut {
            namespace,
            name: subject,
        }),
        "/images/delete" => Some(Event::ImageGone {
            namespace,
            name: subject,
        }),
        "/content/create" => Some(Event::ContentPut(subject.parse().ok()?)),
        "/snapshot/commit" => Some(Event::LayerUnpacked),
        "/content/delete" => Some(Event::ContentGone(subject.parse().ok()?)),
        _ => None,
    }
}
