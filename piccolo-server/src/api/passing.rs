//! Forwards requests about keys to the instances that decide for them: one call for each instance.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use axum::extract::Request;
use daemon::client::Reply;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use piccolo_api::{
    FindReply, FindRequest, Found, Group, Key, LeaveRequest, ProgressReply, ProgressRequest,
    Standing, TagReply, TagRequest, path,
};

use crate::{
    api::{
        Api,
        speaker::Speaker,
        subject::{Subject, SubjectError},
    },
    crowd::{Crowd, Fetcher},
    instances::{Decider, Instances, Peer, Tenure},
    key_hash::KeyHash,
};

/// Most instances that are called for a key: the one that decides, and its stand-in.
const TRIES: usize = 2;

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// An agent, and who that is where it is known.
    Agent(Option<Speaker>),
    /// Another instance, which got it from an agent and saw that it speaks for itself.
    Instance,
}

/// The work for one key.
#[derive(Debug)]
pub(super) enum Told<T> {
    /// The answer of the instance that decides for it.
    There(T),
    /// This instance decides, and has for so long.
    Here(Tenure),
}

impl Caller {
    /// The caller of `request`.
    ///
    /// # Errors
    /// When it claims wrongly that another instance forwarded it.
    pub(super) fn of(api: &Api, request: &Request) -> Result<Self, SubjectError> {
        let speaker = Speaker::of(request);
        if !Instances::is_passed_on(api.instances.as_deref(), request.headers())? {
            return Ok(Self::Agent(speaker));
        }
        if let Some(speaker) = speaker {
            speaker.may_pass_on(api)?;
        }
        Ok(Self::Instance)
    }

    /// Whether it may ask what nodes of `group` have, for the node at `host`.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn may_ask(
        &self,
        api: &Api,
        group: &Group,
        host: Option<IpAddr>,
    ) -> Result<(), SubjectError> {
        if let Some(speaker) = self.agent() {
            speaker.may_speak(api, group.as_str(), host)?;
        }
        Ok(())
    }

    /// Whether the node it speaks of may have no part in a crowd: it has not announced itself, and is not the one
    /// such node that calls from its own address.
    pub(super) fn is_stranger(&self, node: &Subject, crowd: &Crowd) -> bool {
        let is_newcomer = || node.is_own_address && crowd.takes_newcomer(node.source, node.holder);
        matches!(self, Self::Agent(_)) && !node.has_announced() && !is_newcomer()
    }

    /// The address from which a node calls; where its call was passed on, `said` by the instance that did so.
    pub(super) fn source(&self, node: &Subject, said: Option<IpAddr>) -> IpAddr {
        match (self, node.is_own_address) {
            (Self::Agent(Some(speaker)), false) => speaker.address.ip().to_canonical(),
            (Self::Agent(_), _) => node.holder.ip(),
            (Self::Instance, _) => said.unwrap_or(node.holder.ip()),
        }
    }

    /// The agent, where it has to be one that may say what the call says.
    pub(super) fn agent(&self) -> Option<&Speaker> {
        match self {
            Self::Agent(speaker) => speaker.as_ref(),
            Self::Instance => None,
        }
    }
}

/// A call about several keys: each part goes to the instance that decides for its keys.
struct Question<'a, T> {
    path: &'static str,
    /// The body for some of the keys.
    body: &'a (dyn Fn(&[usize]) -> Option<Vec<u8>> + Sync),
    /// An answer for each of the keys.
    read: fn(&Reply) -> Option<Vec<T>>,
}

/// Requests the turns and the holders of a find's keys from the instances that decide for them.
pub(super) async fn joins(
    api: &Api,
    caller: &Caller,
    who: Fetcher<'_>,
    (call, keys): (&FindRequest, &[Key]),
) -> Vec<Told<Found>> {
    let have_fetches = call.fetches.len() == call.keys.len();
    let body = |at: &[usize]| {
        let request = FindRequest {
            keys: some(&call.keys, at),
            fetches: some(if have_fetches { &call.fetches } else { &[] }, at),
            group: call.group.clone(),
            caller: Some(who.source()),
            ..*call
        };
        serde_json::to_vec(&request).ok()
    };
    let question = Question {
        path: path::FIND,
        body: &body,
        read: |reply| {
            let found: FindReply = reply.json().ok()?;
            let has_turn = |found: &Found| found.swarm.is_some();
            let results = found.results;
            results.iter().all(has_turn).then_some(results)
        },
    };
    told(api, caller, who, keys, &question).await
}

/// Forwards a node's progress to the instances that decide for its keys.
pub(super) async fn reports(
    api: &Api,
    caller: &Caller,
    who: Fetcher<'_>,
    (call, keys): (&ProgressRequest, &[Key]),
) -> Vec<Told<Standing>> {
    let body = |at: &[usize]| {
        let request = ProgressRequest {
            caller: Some(who.source()),
            holder: call.holder,
            group: call.group.clone(),
            fetches: some(&call.fetches, at),
        };
        serde_json::to_vec(&request).ok()
    };
    let question = Question {
        path: path::PROGRESS,
        body: &body,
        read: |reply| {
            let said: ProgressReply = reply.json().ok()?;
            Some(said.results)
        },
    };
    told(api, caller, who, keys, &question).await
}

/// Asks the instance that decides for a tag what a node is to do about it.
pub(super) async fn tag(
    api: &Api,
    caller: &Caller,
    who: Fetcher<'_>,
    (call, key): (&TagRequest, &Key),
) -> Told<TagReply> {
    let question = Question {
        path: path::TAG,
        body: &|_| serde_json::to_vec(call).ok(),
        read: |reply| {
            // One of an older release, which each node would have to do without.
            if reply.status == StatusCode::NOT_FOUND {
                return Some(vec![TagReply::Alone]);
            }
            Some(vec![reply.json().ok()?])
        },
    };
    let mut told = told(api, caller, who, std::slice::from_ref(key), &question).await;
    told.pop().unwrap_or(Told::There(TagReply::Alone))
}

/// What the instance that decides for a key says of those that fetch it; nothing where this one does, or
/// that one does not answer.
pub(super) async fn look(
    api: &Api,
    caller: &Caller,
    key: swarm::Key,
    query: &str,
) -> Option<Reply> {
    let (Some(instances), Caller::Agent(_)) = (&api.instances, caller) else {
        return None;
    };
    let deciders = instances.deciders(&[key]);
    let Some(Decider::There(peer)) = deciders.first() else {
        return None;
    };
    let target = format!("{}?{query}", path::SWARM);
    let call = (Method::GET, target.as_str());
    instances.pass(peer, call, Vec::new(), Some).await
}

/// Tells all other instances that a node goes. One that does not hear it finds out by the leases that
/// run out, and by the nodes that it sends there.
pub(super) async fn leave(api: &Api, caller: &Caller, call: &LeaveRequest) {
    let (Some(instances), Caller::Agent(_)) = (&api.instances, caller) else {
        return;
    };
    let Ok(body) = serde_json::to_vec(call) else {
        return;
    };
    let others = instances.others();
    let mut calls = Vec::with_capacity(others.len());
    for peer in &others {
        let read = |reply: Reply| (reply.status == StatusCode::CREATED).then_some(());
        calls.push(instances.pass(peer, (Method::POST, path::LEAVE), body.clone(), read));
    }
    join_all(calls).await;
}

/// The answer for each key, in their order.
async fn told<T: Send>(
    api: &Api,
    caller: &Caller,
    who: Fetcher<'_>,
    keys: &[Key],
    question: &Question<'_, T>,
) -> Vec<Told<T>> {
    let Some(instances) = &api.instances else {
        let settled = |_: &Key| Told::Here(Tenure::Settled);
        return keys.iter().map(settled).collect();
    };
    let hash = |key: &Key| who.key(&KeyHash::of(key.as_str()));
    let hashes: Vec<_> = keys.iter().map(hash).collect();
    if *caller == Caller::Instance {
        let here = |key: &swarm::Key| Told::Here(instances.tenure(*key));
        return hashes.iter().map(here).collect();
    }
    let mut told: Vec<Option<Told<T>>> = keys.iter().map(|_| None).collect();
    for _ in 0..TRIES {
        let open: Vec<usize> = (0..told.len())
            .filter(|at| told.get(*at).is_some_and(Option::is_none))
            .collect();
        if open.is_empty() {
            break;
        }
        let deciders = instances.deciders(&some(&hashes, &open));
        let mut answers = ask(instances, &open, &deciders, question).await;
        for (at, decider) in open.iter().zip(deciders) {
            let said = match (answers.remove(at), decider) {
                (Some(answer), _) => Some(Told::There(answer)),
                (None, Decider::Here(tenure)) => Some(Told::Here(tenure)),
                (None, Decider::There(_)) => None,
            };
            if let Some(entry) = told.get_mut(*at) {
                *entry = said;
            }
        }
    }
    let each = hashes.iter().zip(told);
    let each = each.map(|(key, told)| told.unwrap_or_else(|| Told::Here(instances.tenure(*key))));
    each.collect()
}

/// What other instances say of the keys `open` that they decide for; nothing of those that this one
/// does, and where one does not answer.
async fn ask<T: Send>(
    instances: &Instances,
    open: &[usize],
    deciders: &[Decider],
    question: &Question<'_, T>,
) -> HashMap<usize, T> {
    let mut by_peer: Vec<(&Arc<Peer>, Vec<usize>)> = Vec::new();
    for (at, decider) in open.iter().zip(deciders) {
        if let Decider::There(peer) = decider {
            let known = by_peer
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, peer));
            match known {
                Some((_, keys)) => keys.push(*at),
                None => by_peer.push((peer, vec![*at])),
            }
        }
    }
    let mut calls = Vec::with_capacity(by_peer.len());
    for (peer, at) in &by_peer {
        let body = (question.body)(at).unwrap_or_default();
        let wanted = at.len();
        let read = move |reply: Reply| {
            let said = (question.read)(&reply)?;
            (said.len() == wanted).then_some(said)
        };
        calls.push(instances.pass(peer, (Method::POST, question.path), body, read));
    }
    let said = join_all(calls).await;
    let said = by_peer.iter().zip(said);
    let each = said.flat_map(|((_, at), said)| at.iter().copied().zip(said.into_iter().flatten()));
    each.collect()
}

fn some<T: Clone>(all: &[T], at: &[usize]) -> Vec<T> {
    at.iter().filter_map(|at| all.get(*at).cloned()).collect()
}
