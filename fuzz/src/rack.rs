//! Calls of nodes of the rack, to an agent's peer port: one that is understood, and speaks for its caller, is
//! answered for each of its keys in their order; any other is answered 404.

use std::{net::IpAddr, sync::LazyLock};

use parking_lot::Mutex;
use piccolo_api::{FindReply, FindRequest, ProgressReply, ProgressRequest, Verdict};

use crate::{
    input::Input,
    model::percent,
    stand::{Agent, exchange},
};

static AGENT: LazyLock<Mutex<Agent>> = LazyLock::new(|| Mutex::new(Agent::start()));

/// The caller that seeds name.
const CALLER: [u8; 4] = [127, 0, 0, 1];
/// A call has to fit into a head.
const LONGEST: usize = 5 << 10;

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (path, is_find) = input.one(&[("find", true), ("progress", false)]);
    let call = input.text();
    if call.len() > LONGEST {
        return;
    }
    let agent = AGENT.lock();
    let request = format!(
        "GET /piccolo/v1/rack/{path}?call={} HTTP/1.1\r\n\r\n",
        percent::encode(&call)
    );
    let request = [request.as_bytes()];
    let reply = exchange(CALLER.into(), agent.addr, &request);
    let reply = agent.runtime.block_on(reply);
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
    let is_answered = head.starts_with("HTTP/1.1 200");
    assert!(is_answered || head.starts_with("HTTP/1.1 404"), "{head}");
    let is_caller = |ip: IpAddr| ip == IpAddr::from(CALLER);
    if is_find {
        let call = serde_json::from_str::<FindRequest>(&call).ok();
        let call = call.filter(|call| call.holder.is_some_and(|holder| is_caller(holder.ip())));
        assert_eq!(is_answered, call.is_some(), "{head}");
        if let Some(call) = call {
            found(&call, body);
        }
    } else {
        let call = serde_json::from_str::<ProgressRequest>(&call).ok();
        let call = call.filter(|call| is_caller(call.holder.ip()));
        assert_eq!(is_answered, call.is_some(), "{head}");
        if let Some(call) = call {
            let reply: ProgressReply = serde_json::from_str(body).expect("a reply");
            assert_eq!(reply.results.len(), call.fetches.len());
        }
    }
}

fn found(call: &FindRequest, body: &str) {
    let reply: FindReply = serde_json::from_str(body).expect("a reply");
    let keys: Vec<_> = reply.results.iter().map(|found| &found.key).collect();
    assert_eq!(keys, call.keys.iter().collect::<Vec<_>>());
    assert_eq!(reply.group, call.group);
    for found in reply.results {
        let turn = found.swarm.expect("it is told what to do");
        if let Verdict::Take { sources, .. } = turn.verdict {
            let is_itself = |source: &piccolo_api::Source| Some(source.addr) == call.holder;
            assert!(
                !sources.is_empty() && !sources.iter().any(is_itself),
                "{sources:?}"
            );
        }
    }
}
