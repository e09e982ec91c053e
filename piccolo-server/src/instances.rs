//! Which instances of the server there are, which of them decides for a key that is being fetched, and
//! the calls by which they ask each other.
//!
//! Each instance with an address writes its row in the database each second, and watches those of the
//! others change. Rendezvous hashing over the addresses of those that live picks who decides for a key.
//! The others pass on what they are asked of it, and decide themselves while it does not answer.
//!
//! An instance that takes a key over knows nothing of it. So it sends nobody to the registry at first:
//! a node with a permit says so within a second, whichever instance gave it.

mod beat;
mod looks;
mod passing;
mod peer;
mod roll;

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use daemon::{
    client::JsonClient,
    metric::Metric,
    scope::Scope,
    spell::Spell,
    tls::{self, Role, Tls},
};
use parking_lot::RwLock;
use swarm::Key;
use tokio::time::Instant;

use self::{beat::Beater, looks::Looks, roll::Roll};
pub(crate) use self::{passing::StrangerError, peer::Peer};
use crate::{
    databases::Databases,
    key_hash::KeyHash,
    store::{InstanceRow, Writer},
};

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[LIVE, passing::METRIC];

const LIVE: Metric = Metric::gauge(
    "piccolo_server_instances",
    &[],
    "Instances among which the keys that are being fetched are divided, this one included; 0 without \
     `--instance-address`.",
);

/// Connections to each other instance that are kept open.
const MAX_IDLE_CONNECTIONS: usize = 32;
/// Connect timeout for another instance.
const DIAL: Duration = Duration::from_millis(250);

/// The instances that live, and this one among them.
#[derive(Debug)]
pub(crate) struct Instances {
    own: SocketAddr,
    /// Token that peers send with a forwarded call; stored only in the database.
    secret: i64,
    roll: RwLock<Arc<Roll>>,
    client: JsonClient,
    failing: Spell,
}

/// The instance that decides for a key.
#[derive(Debug)]
pub(crate) enum Decider {
    /// This instance.
    Here(Tenure),
    /// Another one.
    There(Arc<Peer>),
}

/// How long an instance has been deciding for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Long enough: every node with a permit has reported since.
    Settled,
    /// The rest of the learning period: nodes with a permit may not have reported yet.
    New(Duration),
}

/// Announces this instance, and watches the others, until the process ends.
pub(crate) async fn start(
    own: SocketAddr,
    id: Writer,
    (databases, tls): (&Databases, Tls),
    scope: &Scope,
) -> Option<Arc<Instances>> {
    let role = Some(Role::Server);
    let store = Arc::clone(databases.first()?.store());
    let secret = RandomState::new().hash_one(()).cast_signed();
    let instances = Arc::new(Instances {
        own,
        secret,
        roll: RwLock::new(Arc::new(Roll::alone(number(own), Instant::now()))),
        client: JsonClient::of(
            tls::Peer {
                tls,
                role,
                group: None,
            },
            DIAL,
            MAX_IDLE_CONNECTIONS,
        ),
        failing: Spell::new("the other instances answer again"),
    });
    let row = InstanceRow {
        id,
        address: own,
        secret,
        beat: 0,
    };
    passing::announce();
    let mut beater = Beater::new(Arc::clone(&instances), store, row, Looks::of(id, own));
    // The others may pass calls on from now on.
    beater.round().await;
    scope.service("instances", beater.run(scope.clone()));
    Some(instances)
}

/// What rendezvous hashing knows an instance by.
fn number(address: SocketAddr) -> u64 {
    let KeyHash(hash) = KeyHash::of(&address.to_string());
    let first = hash.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

impl Tenure {
    fn until(settled: Instant, now: Instant) -> Self {
        match settled.checked_duration_since(now) {
            Some(left) if !left.is_zero() => Self::New(left),
            _ => Self::Settled,
        }
    }
}

impl Instances {
    /// Where others reach this instance.
    pub(crate) fn own(&self) -> SocketAddr {
        self.own
    }

    /// The instance that decides for each key. One in back-off is skipped.
    pub(crate) fn deciders(&self, keys: &[Key]) -> Vec<Decider> {
        self.roll().deciders(keys, Instant::now())
    }

    /// How long this instance has decided for a key, also in another one's place.
    pub(crate) fn tenure(&self, key: Key) -> Tenure {
        self.roll().tenure(key, Instant::now())
    }

    /// Whether another instance decides for a key, and this one does not in its place.
    pub(crate) fn is_elsewhere(&self, key: Key) -> bool {
        self.roll().is_elsewhere(key, Instant::now())
    }

    /// All others.
    pub(crate) fn others(&self) -> Vec<Arc<Peer>> {
        self.roll().peers().to_vec()
    }

    fn roll(&self) -> Arc<Roll> {
        Arc::clone(&self.roll.read())
    }

    /// Puts these others in force.
    fn enter(&self, live: &[InstanceRow], now: Instant) {
        let mut roll = self.roll.write();
        if let Some(next) = roll.next(live, now) {
            *roll = Arc::new(next);
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::as_conversions,
            reason = "gauges are floats"
        )]
        metrics::gauge!(LIVE.name).set((live.len() + 1) as f64);
    }

    /// This instance begins, or was away for so long that others may have decided in its place.
    fn begin(&self, now: Instant) {
        let mut roll = self.roll.write();
        *roll = Arc::new(roll.begun(now));
    }
}
