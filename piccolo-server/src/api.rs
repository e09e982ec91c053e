//! The HTTP API that agents call. One file for each endpoint.

mod advertise;
mod bandwidth;
mod body;
mod explain;
mod find;
mod find_key;
mod health;
mod keepalive;
mod leave;
mod peers;
mod reply;
mod subject;
mod sync;
mod topology;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use daemon::clock::Clock;
use piccolo_api::{Holder, path};

use crate::{
    bandwidth::Bandwidth, databases::Databases, finder::Finder, reports::Report,
    topology_file::Current,
};

/// What the endpoints work with.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) databases: Arc<Databases>,
    pub(crate) finder: Finder,
    pub(crate) current: Arc<Current>,
    pub(crate) bandwidth: Arc<Bandwidth>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
}

/// How much one call may carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Keys that one call adds, removes or looks for.
    pub(crate) keys: usize,
    /// Holders of one key that a find answers.
    pub(crate) count: u32,
    /// Keys of one find.
    pub(crate) find_keys: usize,
}

pub(crate) fn router(api: Arc<Api>) -> Router {
    let body = DefaultBodyLimit::max(api.limits.body);
    Router::new()
        .route(path::ADVERTISE, post(advertise::handle))
        .route(path::SYNC, post(sync::handle))
        .route(path::FIND_KEY, get(find_key::handle))
        .route(path::FIND, post(find::handle))
        .route(path::KEEPALIVE, post(keepalive::handle))
        .route(path::LEAVE, post(leave::handle))
        .route(path::EXPLAIN, get(explain::handle))
        .route(path::TOPOLOGY, get(topology::handle))
        .route(path::LOCATE, get(topology::locate))
        .route(path::SUGGEST, get(topology::suggest))
        .route(path::BANDWIDTH, get(bandwidth::handle))
        .route(path::HEALTH, get(health::handle))
        .layer(body)
        .with_state(api)
}

impl Api {
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    /// Takes in what a node reported.
    pub(crate) fn reported(&self, reporter: Holder, report: &Report) {
        let now = self.clock.now();
        self.bandwidth
            .learn(now, reporter.ip(), &report.observations);
    }
}
