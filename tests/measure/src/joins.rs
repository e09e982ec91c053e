//! All nodes of a cluster that begin to fetch an image at the same moment, as a server sees them.
//!
//! Each node makes one call for all layers. As many calls are in flight as there are connections, and
//! each takes from when its node had a connection to make it on.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Dataset,
    calls::post,
    load::{self, Connection, Poll, SCRATCH, Tally},
    numbers::index,
};

/// Who joins for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinsPlan {
    /// Where the server's API is.
    pub server: SocketAddr,
    /// Nodes, each of which makes one call.
    pub nodes: u32,
    /// Keys of each call, the same in all.
    pub keys: u32,
    /// Connections that are open at once.
    pub connections: u32,
}

/// What the server made of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinsOutcome {
    /// Until the last was answered.
    pub seconds: f64,
    /// The time that half of the answers came within.
    pub p50_ms: f64,
    /// The time that 99 of 100 answers came within.
    pub p99_ms: f64,
    /// Replies that told a node to come again, which it did.
    pub refused: u64,
    /// Connections that ended without a reply; their nodes came again.
    pub broken: u64,
    /// Processor time that the generator itself needed.
    pub generator_cpu: f64,
}

/// Longer than a bench may take.
const LIMIT: Duration = Duration::from_mins(2);
/// Connections at once from one address of this machine. A reply may close its connection, so an address opens several
/// times as many, and has some 28,000 ports.
const OF_ADDRESS: usize = 1_000;

struct Slot {
    connection: Connection,
    node: u32,
    asked: Instant,
}

/// Calls in flight, and what came of those before.
struct Crowd<'a> {
    plan: &'a JoinsPlan,
    keys: Vec<String>,
    poll: Poll,
    /// None where there is no node left for a connection.
    slots: Vec<Option<Slot>>,
    nodes: Range<u32>,
    tally: Tally,
    answered: u32,
    refused: u64,
    broken: u64,
}

pub(crate) fn run(plan: &JoinsPlan) -> Result<JoinsOutcome> {
    let keys = (0..u64::from(plan.keys)).map(|n| Dataset::key(u64::from(Dataset::DIGESTS) * 2 + n));
    let mut crowd = Crowd {
        plan,
        keys: keys.collect(),
        poll: Poll::new()?,
        slots: Vec::new(),
        nodes: 0..plan.nodes,
        tally: Tally::default(),
        answered: 0,
        refused: 0,
        broken: 0,
    };
    let cpu = load::cpu();
    let begin = Instant::now();
    crowd.begin()?;
    let mut scratch = vec![0; SCRATCH];
    while crowd.answered < plan.nodes {
        let answered = crowd.answered;
        ensure!(
            begin.elapsed() < LIMIT,
            "{answered} calls were answered in {LIMIT:?}"
        );
        let tokens: Vec<_> = crowd.poll.wait(Duration::from_secs(1))?.collect();
        for token in tokens {
            crowd.serve(token, &mut scratch)?;
        }
    }
    let took = begin.elapsed();
    let outcome = crowd.tally.outcome(took, load::cpu().saturating_sub(cpu));
    Ok(JoinsOutcome {
        seconds: took.as_secs_f64(),
        p50_ms: outcome.p50_ms,
        p99_ms: outcome.p99_ms,
        refused: crowd.refused,
        broken: crowd.broken,
        generator_cpu: outcome.generator_cpu,
    })
}

impl Crowd<'_> {
    fn begin(&mut self) -> Result<()> {
        for token in 0..self.plan.connections.min(self.plan.nodes) {
            let connection = open(self.plan, index(token))?;
            self.poll.add(&connection, index(token))?;
            let node = self.nodes.next().context("a node for each connection")?;
            let asked = Instant::now();
            let mut slot = Slot {
                connection,
                node,
                asked,
            };
            slot.ask(&self.keys);
            self.slots.push(Some(slot));
        }
        Ok(())
    }

    /// Takes a reply, if it is there, and has the next node ask.
    fn serve(&mut self, token: usize, scratch: &mut [u8]) -> Result<()> {
        let place = self.slots.get_mut(token);
        let Some(slot) = place.context("an event of no connection")? else {
            return Ok(());
        };
        let flushed = slot.connection.flush();
        let (next, last) = match flushed.and_then(|()| slot.connection.receive(scratch)) {
            Ok(None) => return Ok(()),
            Ok(Some(reply)) if reply.status == 200 => {
                self.tally.add(reply, Some(slot.asked.elapsed()));
                self.answered += 1;
                (self.nodes.next(), reply.last)
            }
            Ok(Some(reply)) => {
                self.refused += 1;
                (Some(slot.node), reply.last)
            }
            Err(_) => {
                self.broken += 1;
                (Some(slot.node), true)
            }
        };
        let Some(next) = next else {
            if let Some(slot) = self.slots.get_mut(token) {
                *slot = None;
            }
            return Ok(());
        };
        // A node that was refused has been waiting since it first asked.
        if next != slot.node {
            (slot.node, slot.asked) = (next, Instant::now());
        }
        if last {
            slot.connection = open(self.plan, token)?;
            self.poll.add(&slot.connection, token)?;
        }
        slot.ask(&self.keys);
        Ok(())
    }
}

impl Slot {
    fn ask(&mut self, keys: &[String]) {
        let fetches: Vec<_> = keys.iter().map(|_| json!({"offset": 0})).collect();
        let body = json!({
            "keys": keys,
            "group": Dataset::GROUP,
            "count": 32,
            "request_host": Dataset::address(self.node),
            "intent": "fetch",
            "holder": Dataset::holder(self.node),
            "fetches": fetches,
        });
        let request = post("/api/v1/distribution/find", body);
        // What is the matter is seen when the reply is read.
        let _ = self.connection.send(request);
    }
}

fn open(plan: &JoinsPlan, token: usize) -> Result<Connection> {
    let number = u8::try_from(token / OF_ADDRESS).unwrap_or(u8::MAX - 1);
    Connection::open_from(Ipv4Addr::new(127, 0, 1, number + 1), plan.server)
}
