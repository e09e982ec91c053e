//! Following containerd's images: a list at the start of each connection, then events.

use std::{sync::Arc, time::Duration};

use daemon::{clock::Clock, readiness::Readiness, retry::Backoff, scope::Scope, telemetry::chain};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, info, warn};

use super::{facts::Facts, listing::Listing, track::Change};
use crate::{
    containerd::{Containerd, ContainerdError, Event, Events, Namespace, RECONNECTS},
    distribution,
    jitter::Jitter,
};

/// Between attempts to reach containerd, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Interval of full listings, in case an event was lost.
const RELIST: Duration = Duration::from_mins(5);

/// Time after which a subscription is certainly active.
const SETTLED: Duration = Duration::from_secs(2);
/// The name of the condition under `/readyz`.
const CONDITION: &str = "containerd";

/// Follows the images of one containerd.
#[derive(Debug)]
pub(crate) struct ImageWatch {
    pub(crate) containerd: Containerd,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) listing: Option<Listing>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) clock: Clock,
    pub(crate) jitter: Jitter,
    pub(crate) readiness: Readiness,
}

impl ImageWatch {
    /// Follows the images until the scope drains.
    pub(crate) async fn run(self, scope: Scope) {
        tokio::select! {
            () = scope.draining() => {}
            () = self.connections() => {}
        }
    }

    async fn connections(self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut told = false;
        let mut ever_connected = false;
        self.readiness.bad(CONDITION, "not reached yet");
        loop {
            let result = self.connection(&mut backoff).await;
            let error = match &result {
                Ok(()) => "the event stream ended".to_owned(),
                Err(error) => distribution::elsewhere(self.containerd.socket())
                    .unwrap_or_else(|| chain(error).to_string()),
            };
            let was_connected = self.facts.overview().containerd_connected;
            if was_connected || !told {
                warn!(socket = %self.containerd.socket().display(), %error, "containerd is away");
                told = true;
            } else {
                debug!(%error, "containerd is still away");
            }
            ever_connected |= was_connected;
            // What this node has can be served without containerd: only an agent that never saw it
            // has nothing to offer.
            if ever_connected {
                self.readiness.degraded(CONDITION, error.clone());
            } else {
                self.readiness.bad(CONDITION, error.clone());
            }
            self.facts.update(|o| {
                o.containerd_connected = false;
                o.containerd_error = Some(error);
            });
            tokio::time::sleep(backoff.delay(self.jitter.next())).await;
        }
    }

    /// From one connection to its end.
    async fn connection(&self, backoff: &mut Backoff) -> Result<(), ContainerdError> {
        // Subscribed before it is listed, so that nothing falls between the two.
        let mut events = self.containerd.events().await?;
        let version = self.containerd.version().await?;
        if self.facts.overview().containerd_version.is_some() {
            metrics::counter!(RECONNECTS.name).increment(1);
        }
        self.list().await?;
        self.nudge();
        backoff.reset();
        self.readiness.good(CONDITION, version.clone());
        info!(%version, "following containerd's images");
        self.facts.update(|o| {
            o.containerd_connected = true;
            o.containerd_version = Some(version);
            o.containerd_error = None;
        });
        // The subscription may have become active a moment after the listing.
        let mut relist = SETTLED;
        loop {
            if self
                .events_until(&mut events, Instant::now() + relist)
                .await?
            {
                return Ok(());
            }
            self.list().await?;
            relist = self.jitter.around(RELIST);
        }
    }

    /// Handles events until `end`, or until the stream ends.
    async fn events_until(
        &self,
        events: &mut Events,
        end: Instant,
    ) -> Result<bool, ContainerdError> {
        loop {
            let event = tokio::select! {
                event = events.next(|| self.clock.now()) => event?,
                () = tokio::time::sleep_until(end) => return Ok(false),
            };
            match event {
                Some(event) => self.event(event).await?,
                None => return Ok(true),
            }
        }
    }

    async fn event(&self, event: Event) -> Result<(), ContainerdError> {
        self.nudge();
        match event {
            Event::ImagePut { namespace, name } => {
                let Some(namespace) = self.namespace(&namespace) else {
                    return Ok(());
                };
                let image = self.containerd.image(namespace, &name).await?;
                let namespace = namespace.as_str().into();
                match image {
                    Some(image) => self.tell(Change::ImagePut(namespace, image)).await,
                    None => self.tell(Change::ImageGone(namespace, name)).await,
                }
            }
            Event::ImageGone { namespace, name } => {
                if let Some(namespace) = self.namespace(&namespace) {
                    self.tell(Change::ImageGone(namespace.as_str().into(), name))
                        .await;
                }
            }
            // Where the directory is watched, it tells of content itself.
            Event::ContentPut(_) | Event::ContentGone(_) | Event::LayerUnpacked => {}
        }
        Ok(())
    }

    async fn list(&self) -> Result<(), ContainerdError> {
        for namespace in self.containerd.namespaces() {
            let images = self.containerd.images(namespace).await?;
            self.tell(Change::Listed(namespace.as_str().into(), images))
                .await;
        }
        Ok(())
    }

    /// Lists the content store again, where it is followed by listings.
    fn nudge(&self) {
        if let Some(listing) = &self.listing {
            listing.nudge();
        }
    }

    fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.containerd
            .namespaces()
            .iter()
            .find(|n| n.as_str() == name)
    }

    async fn tell(&self, change: Change) {
        // The tracker ends only with the process.
        let _ = self.changes.send(change).await;
    }
}
