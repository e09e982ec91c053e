//! Load on a server through HTTP: every connection asks again as soon as it was answered.
//!
//! One thread serves all connections, and the requests are made beforehand where they can be, since
//! the generator shares the processor with the server that it measures.

mod connection;
mod poll;
mod requests;
mod tally;
mod workload;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{Dataset, numbers::index};

pub(crate) use self::{
    connection::{Connection, Reply, SCRATCH},
    poll::Poll,
    tally::Tally,
};
pub use self::{tally::LoadOutcome, workload::Workload};

/// What is asked, of whom, for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Where the server's API is.
    pub server: SocketAddr,
    /// The nodes that the server knows.
    pub dataset: Dataset,
    /// The calls.
    pub workload: Workload,
    /// Connections that are kept open.
    pub connections: u32,
    /// How long calls are counted, in seconds.
    pub seconds: f64,
    /// How long calls are made before any counts, in seconds.
    pub warm_up: f64,
    /// Calls that add what is new add other keys with each seed.
    pub seed: u32,
}

struct Slot {
    connection: Connection,
    asked: Instant,
}

pub(crate) fn run(plan: &LoadPlan) -> Result<LoadOutcome> {
    let mut requests = plan.workload.requests(&plan.dataset, plan.seed);
    let mut poll = Poll::new()?;
    let mut slots = Vec::new();
    for token in 0..index(plan.connections) {
        let connection = Connection::open(plan.server)?;
        poll.add(&connection, token)?;
        slots.push(Slot {
            connection,
            asked: Instant::now(),
        });
    }
    let cpu = cpu();
    let begin = Instant::now();
    let counted = begin + Duration::from_secs_f64(plan.warm_up);
    let end = counted + Duration::from_secs_f64(plan.seconds);
    for slot in &mut slots {
        slot.asked = Instant::now();
        slot.connection.write(|out| requests.write(out))?;
    }
    let mut tally = Tally::default();
    let mut scratch = vec![0; SCRATCH];
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        for token in poll.wait(end - now)? {
            let slot = slots.get_mut(token).context("an event of no connection")?;
            slot.connection.flush()?;
            while let Some(reply) = slot.connection.receive(&mut scratch)? {
                let now = Instant::now();
                tally.add(reply, (now >= counted).then_some(now - slot.asked));
                slot.asked = now;
                slot.connection.write(|out| requests.write(out))?;
            }
        }
    }
    Ok(tally.outcome(end - counted, self::cpu().saturating_sub(cpu)))
}

/// Processor time of this process so far.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
