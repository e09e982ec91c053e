//! Calls of nodes of the rack, for which this node decides while no server answers.

use std::net::IpAddr;

use piccolo_api::{FindReply, FindRequest, Found, Holder, ProgressReply, ProgressRequest};

use crate::{
    http::{RackCall, RackKind},
    tracker::Tracker,
};

/// The reply, as JSON; `None` where the call makes no sense, or speaks for another node than the caller.
pub(super) fn answer(tracker: &Tracker, caller: IpAddr, call: &RackCall) -> Option<String> {
    let is_caller = |holder: Holder| holder.ip().to_canonical() == caller;
    match call.kind {
        RackKind::Find => {
            let call: FindRequest = serde_json::from_str(&call.request).ok()?;
            call.holder.filter(|holder| is_caller(*holder))?;
            let turns = tracker.find(&call).into_iter();
            let found = |(key, swarm)| Found {
                key,
                peers: Vec::new(),
                swarm,
            };
            let reply = FindReply {
                results: call.keys.into_iter().zip(turns).map(found).collect(),
                group: call.group,
            };
            serde_json::to_string(&reply).ok()
        }
        RackKind::Progress => {
            let call: ProgressRequest = serde_json::from_str(&call.request).ok()?;
            Some(call.holder).filter(|holder| is_caller(*holder))?;
            let reply = ProgressReply {
                results: tracker.progress(&call),
            };
            serde_json::to_string(&reply).ok()
        }
    }
}
