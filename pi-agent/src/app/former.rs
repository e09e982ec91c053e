//! The port where the mirror listened by default before that was one that takes a capability: open beside the
//! mirror's own for as long as a file leads containerd there, and for a while longer, since a pull goes on with
//! what it read when it began.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use daemon::{beat::beat, metric::Metric, scope::Scope, telemetry::chain};
use metrics::gauge;
use tokio::{net::TcpListener, sync::Semaphore, time::Instant};
use tracing::{Span, debug, info};

use crate::{
    config::Run,
    disk,
    hosts::former::{FormerAddress, PORT},
    mirror::Mirror,
};

/// The metrics of this module.
pub(super) const METRICS: &[Metric] = &[OPEN];

const OPEN: Metric = Metric::gauge(
    "piccolo_agent_former_port_open",
    &[],
    "Whether the mirror listens at port 7788 as well (1 or 0), since a mirror file of an older release names it.",
);

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);
/// How long the disk may take for them.
const PATIENCE: Duration = Duration::from_secs(2);
static LOOKING: Semaphore = Semaphore::const_new(1);

/// The port, where containerd is led to it.
#[derive(Debug)]
pub(super) struct Former {
    files: FormerAddress,
    address: SocketAddr,
    stays: Duration,
}

/// Serves at the former port where it is open.
pub(super) fn begin(former: (Option<Former>, Option<TcpListener>), mirror: &Mirror, scope: &Scope) {
    if let (Some(former), Some(listener)) = former {
        let serving = former.serve(mirror.clone(), listener, scope.clone());
        scope.task(Span::none(), serving);
    }
}

impl Former {
    /// `None` where no file leads to it, where it is the mirror's own, or where it is not to be opened.
    pub(super) async fn of(settings: &Run) -> Option<Self> {
        gauge!(OPEN.name).set(0.0);
        let own = settings.mirror_listen;
        let files = FormerAddress {
            hosts_dir: settings.hosts.hosts_dir.clone(),
            containerd_config: settings.hosts.containerd_config.clone(),
            own: Some(own.ip()).filter(IpAddr::is_loopback),
        };
        let stays = Duration::from_secs(settings.former_port_seconds);
        if own.port() == PORT || stays.is_zero() {
            return None;
        }
        let address = named(&files).await?;
        Some(Self {
            files,
            address,
            stays,
        })
    }

    /// Where that is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until nobody is led there any more.
    pub(super) async fn serve(self, mirror: Mirror, listener: TcpListener, scope: Scope) {
        let at = self.address();
        info!(%at, "mirror files still name the port of older releases: listening there as well");
        gauge!(OPEN.name).set(1.0);
        tokio::select! {
            () = mirror.accept(listener, scope) => {}
            () = self.forgotten() => info!(%at, "no mirror file names the port of older releases: closed"),
        }
        gauge!(OPEN.name).set(0.0);
    }

    /// Waits until no file has named it for a while.
    async fn forgotten(&self) {
        let mut since = Instant::now();
        while since.elapsed() < self.stays {
            beat(LOOK).await;
            if named(&self.files).await.is_some() {
                since = Instant::now();
            }
        }
    }
}

/// The address that is named. What cannot be read may name the first.
async fn named(files: &FormerAddress) -> Option<SocketAddr> {
    let first = files.addresses().first().copied();
    let files = files.clone();
    let looked = disk::apart(&LOOKING, PATIENCE, move || files.named()).await;
    looked.unwrap_or_else(|error| {
        debug!(error = %chain(&error), "mirror files cannot be looked at");
        first
    })
}
