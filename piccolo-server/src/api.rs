//! The HTTP API that agents call. One file for each endpoint.

mod accused;
mod advertise;
mod bandwidth;
mod bodies;
mod body;
mod bounds;
mod change;
mod costly;
mod explain;
mod find;
mod find_key;
mod guarded;
mod health;
mod keepalive;
mod late;
mod leave;
mod lookup;
mod measured;
mod passing;
mod peers;
mod progress;
mod reply;
mod speaker;
mod subject;
mod swarm;
mod sync;
mod tag;
mod topology;
mod unknown;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use daemon::{
    clock::{Clock, as_ms},
    metric::Metric,
    spell::Spell,
    tls::{Gate, Tls},
};
use piccolo_api::{KEEPALIVE_INTERVAL, path};

pub(crate) use self::{
    accused::Accused, bodies::Bodies, bounds::Bounds, change::Refusals, guarded::readers,
    late::late, subject::Foreign,
};
use self::{measured::measured, subject::Subject};
use crate::{
    bandwidth::Bandwidth, connections, crowd::Crowd, databases::Databases, finder::Finder,
    instances::Instances, mates::RackLists, reports::Report, tags::Tags, topology_file::Current,
};

/// What this module counts.
pub(crate) const METRICS: &[&[Metric]] = &[
    measured::METRICS,
    &[
        subject::METRIC,
        bounds::METRIC,
        change::METRIC,
        speaker::METRIC,
    ],
];

/// What the endpoints work with.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) databases: Arc<Databases>,
    pub(crate) finder: Finder,
    pub(crate) current: Arc<Current>,
    pub(crate) bandwidth: Arc<Bandwidth>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) bodies: Bodies,
    pub(crate) bounds: Bounds,
    pub(crate) foreign: Foreign,
    pub(crate) refusals: Refusals,
    pub(crate) accused: Accused,
    /// Who is in whose rack.
    pub(crate) mates: RackLists,
    /// What registries said of tags.
    pub(crate) tags: Arc<Tags>,
    /// The flash crowds; `None` if they are off.
    pub(crate) crowd: Option<Arc<Crowd>>,
    /// How connections are encrypted.
    pub(crate) tls: Tls,
    /// The warnings about calls that were refused for who made them.
    pub(crate) impostors: Spell,
    /// Who may make the calls of operators.
    pub(crate) gate: Gate,
    /// The instances that decide for each other; `None` where this one decides by itself.
    pub(crate) instances: Option<Arc<Instances>>,
}

/// Limits of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Keys that one call adds, removes or looks for.
    pub(crate) keys: usize,
    /// Holders of one key that a find answers.
    pub(crate) count: u32,
    /// Keys of one node.
    pub(crate) keys_per_node: u32,
    /// Keys of one find.
    pub(crate) find_keys: usize,
    /// How long a node may be silent.
    pub(crate) node_timeout: Duration,
    /// Whether calls about other hosts than the caller are refused.
    pub(crate) bind_holder: bool,
}

pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route(
            path::ADVERTISE,
            measured("advertise", post(advertise::handle)),
        )
        .route(
            path::SYNC,
            connections::few(measured("sync", post(sync::handle))),
        )
        .route(path::FIND_KEY, measured("findkey", get(find_key::handle)))
        .route(path::FIND, measured("find", post(find::handle)))
        .route(path::PROGRESS, measured("progress", post(progress::handle)))
        .route(path::TAG, measured("tag", post(tag::handle)))
        .route(
            path::KEEPALIVE,
            connections::few(measured("keepalive", post(keepalive::handle))),
        )
        .route(path::LEAVE, measured("leave", post(leave::handle)))
        .merge(operators(&api))
        .route(path::HEALTH, get(health::handle))
        .method_not_allowed_fallback(unknown::method)
        .fallback(unknown::path)
        .with_state(api)
}

/// What operators look at.
fn operators(api: &Arc<Api>) -> Router<Arc<Api>> {
    Router::new()
        .route(path::EXPLAIN, costly::few(get(explain::handle)))
        .route(path::SWARM, costly::few(get(swarm::handle)))
        .route(path::TOPOLOGY, costly::few(get(topology::handle)))
        .route(path::LOCATE, get(topology::locate))
        .route(path::SUGGEST, costly::few(get(topology::suggest)))
        .route(path::BANDWIDTH, costly::few(get(bandwidth::handle)))
        .route_layer(from_fn_with_state(Arc::clone(api), guarded::operators))
}

impl Api {
    pub(crate) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The interval of keepalives that agents are asked for in milliseconds, where their own is too long: a
    /// node that lives has some of them lost before it counts as dead.
    pub(crate) fn keepalive_ms(&self) -> Option<u64> {
        let interval = self.limits.node_timeout / 4;
        (interval < KEEPALIVE_INTERVAL).then(|| as_ms(interval).max(1).unsigned_abs())
    }

    /// Learns from a node's report.
    pub(crate) fn reported(&self, subject: &Subject, report: &Report) {
        let now = self.clock.now();
        let is_node = |peer| subject.knows(peer);
        self.bandwidth
            .learn(now, subject.holder.ip(), &report.observations, is_node);
        self.accused.reported(subject, &report.failures, self.now());
    }
}
