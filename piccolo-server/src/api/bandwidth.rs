//! GET bandwidth: estimates of the paths between racks.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use topology::{RackId, Rate};

use crate::{
    api::{Api, reply},
    bandwidth::Census,
};

#[derive(Debug, Serialize)]
struct BandwidthReply {
    /// Racks that have living nodes.
    racks: Vec<String>,
    /// Every pair of them while they are few; otherwise those of which something was observed.
    pairs: Vec<PairReply>,
    /// Pairs that are left out, because there are too many.
    left_out: usize,
}

/// Rates are in bits per second.
#[derive(Debug, Serialize)]
struct PairReply {
    from: String,
    to: String,
    /// The narrowest declared link on the way.
    prior: Rate,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<Rate>,
    /// What one transfer would reach with the path to itself.
    estimate: Rate,
    /// What one more transfer would reach now.
    available: Rate,
    /// The share of observation in the estimate.
    confidence: f64,
    samples: f64,
    /// Transfers in flight.
    load: f64,
    /// Since the last sample that this instance took.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<f64>,
}

/// With more racks than this, the reply has only the pairs that were observed.
const MAX_RACKS_IN_FULL: usize = 48;
/// Pairs of one reply.
const MAX_PAIRS: usize = 10_000;

pub(crate) async fn handle(State(api): State<Arc<Api>>) -> Response {
    let topology = api.current.get();
    let racks = Census::take(&api.databases, &topology, api.now()).racks;
    let racks: Vec<RackId> = racks.into_keys().collect();
    // A copy: holding the lock on the estimates would block reports.
    let estimates = api.bandwidth.estimates().clone();
    let mut pairs = estimates.pairs();
    if racks.len() <= MAX_RACKS_IN_FULL {
        let every = racks
            .iter()
            .flat_map(|from| racks.iter().map(|to| (*from, *to)));
        pairs.extend(every);
        pairs.sort_unstable();
        pairs.dedup();
    }
    let left_out = pairs.len().saturating_sub(MAX_PAIRS);
    let now = api.clock.now();
    let name = |rack: RackId| topology.rack_name(rack).into_owned();
    let shown = pairs.into_iter().take(MAX_PAIRS).map(|(from, to)| {
        let estimate = estimates.estimate(now, &topology, from, to);
        PairReply {
            from: name(from),
            to: name(to),
            prior: estimate.prior,
            observed: estimate.observed,
            estimate: estimate.value,
            available: estimate.available,
            confidence: estimate.confidence,
            samples: estimate.samples,
            load: estimate.load,
            age_seconds: estimate.age.map(|age| age.as_secs_f64()),
        }
    });
    let body = BandwidthReply {
        pairs: shown.collect(),
        racks: racks.into_iter().map(name).collect(),
        left_out,
    };
    reply::json(StatusCode::OK, &body)
}
