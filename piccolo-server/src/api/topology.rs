//! GET topology: the tree in force and the nodes in each rack; GET locate and suggest.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use topology::{Place, Ranking, Rate, Topology};

use crate::{
    api::{Api, lookup::FindError, reply},
    bandwidth::{Census, addresses},
};

#[derive(Debug, Serialize)]
struct TopologyReply<'a> {
    /// The file that the operators named.
    file: Option<String>,
    /// Parents before their children.
    places: Vec<PlaceReply<'a>>,
    /// Racks that have living nodes.
    racks: BTreeMap<String, RackReply>,
    /// Living nodes whose addresses the file does not mention.
    unknown_addresses: usize,
    ranking: Ranking,
}

#[derive(Debug, Serialize)]
struct PlaceReply<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
    cidrs: &'a [IpNetwork],
    /// In bits per second, as all rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    down: Option<Rate>,
    host_link: Rate,
}

#[derive(Debug, Serialize)]
struct RackReply {
    hosts: usize,
    /// Whether the file names it; otherwise it was guessed from a prefix.
    declared: bool,
}

/// The address whose rack is requested.
#[derive(Debug, Deserialize)]
pub(crate) struct LocateQuery {
    /// The caller's where it is absent.
    ip: Option<IpAddr>,
}

#[derive(Debug, Serialize)]
struct LocateReply {
    ip: IpAddr,
    rack: String,
    /// Whether the file mentions the address.
    known: bool,
    /// Where the rack's hosts are found.
    prefixes: Vec<IpNetwork>,
}

pub(crate) async fn handle(State(api): State<Arc<Api>>) -> Response {
    let topology = api.current.get();
    let census = Census::take(&api.databases, &topology, api.now());
    let places = topology.places();
    let racks = census.racks.iter().map(|(rack, hosts)| {
        let declared = rack.guessed_prefix().is_none();
        let reply = RackReply {
            hosts: *hosts,
            declared,
        };
        (topology.rack_name(*rack).into_owned(), reply)
    });
    let body = TopologyReply {
        file: api.current.file().map(|file| file.display().to_string()),
        places: places.iter().map(|place| shown(place, &topology)).collect(),
        racks: racks.collect(),
        unknown_addresses: census.unknown,
        ranking: *topology.ranking(),
    };
    reply::json(StatusCode::OK, &body)
}

pub(crate) async fn locate(
    State(api): State<Arc<Api>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    query: Result<Query<LocateQuery>, QueryRejection>,
) -> Response {
    let ip = match query {
        Ok(Query(query)) => query.ip.unwrap_or(caller.ip()).to_canonical(),
        Err(rejection) => return FindError::Query(rejection.body_text()).reply(),
    };
    let topology = api.current.get();
    let rack = topology.locate(ip);
    let body = LocateReply {
        ip,
        rack: topology.rack_name(rack).into_owned(),
        known: topology.knows(ip),
        prefixes: topology.rack_prefixes(rack),
    };
    reply::json(StatusCode::OK, &body)
}

/// A topology file as YAML.
pub(crate) async fn suggest(State(api): State<Arc<Api>>) -> Response {
    let nodes = addresses(&api.databases, api.now());
    // On a copy, since it may be slow: holding the lock on the estimates would block reports.
    let (estimates, now) = (api.bandwidth.estimates().clone(), api.clock.now());
    let file = tokio::task::spawn_blocking(move || topology::suggest(nodes, &estimates, now)).await;
    match file {
        Ok(file) => file.into_response(),
        // A panic ends the process, so there is no result only when the runtime shuts down.
        Err(_shutdown) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn shown<'a>(place: &'a Place, topology: &'a Topology) -> PlaceReply<'a> {
    let parent = place.parent().and_then(|at| topology.places().get(at));
    PlaceReply {
        name: place.name(),
        kind: place.kind(),
        parent: parent.map(Place::name),
        cidrs: place.cidrs(),
        up: place.uplink().map(|uplink| uplink.up),
        down: place.uplink().map(|uplink| uplink.down),
        host_link: place.host_link(),
    }
}
