//! All agents with their connections.

use std::{
    io::{self, ErrorKind},
    net::Ipv4Addr,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    AgentsPlan,
    line::{Call, Kind, Line},
    line_of,
};
use crate::{
    Dataset,
    calls::{self, Version},
    load::{Connection, Poll, Reply, SCRATCH, Tally},
    numbers::index,
    random::Random,
    zipf::Zipf,
};

/// Layers of an image, and holders of each that an agent asks for.
const LAYERS: usize = 10;
const COUNT: u32 = 20;
/// Connections of one source address: far fewer than it has ports, as the kernel seeks a free one
/// the longer the more are taken.
const OF_ONE_ADDRESS: u32 = 4000;

/// Agents, their connections, and what came back.
pub(super) struct Crew<'a> {
    plan: &'a AgentsPlan,
    poll: Poll,
    lines: Vec<Line>,
    /// Each agent's number of changes.
    seqs: Vec<u32>,
    popularity: Zipf,
    random: Random,
    scratch: Vec<u8>,
    tally: Tally,
    resyncs: u64,
    reopened: u64,
    broken: u64,
    pending: usize,
}

/// Whether a server that lives may have done that to a connection.
fn is_closing(error: &anyhow::Error) -> bool {
    let socket: Option<&io::Error> = error.downcast_ref();
    socket.is_some_and(|error| error.kind() != ErrorKind::ConnectionRefused)
}

impl<'a> Crew<'a> {
    /// Opens all connections.
    pub(super) fn new(plan: &'a AgentsPlan) -> Result<Self> {
        let mut crew = Self {
            plan,
            poll: Poll::new()?,
            lines: Vec::new(),
            seqs: vec![0; index(plan.dataset.nodes)],
            popularity: Dataset::popularity(),
            random: Random::new(plan.epoch),
            scratch: vec![0; SCRATCH],
            tally: Tally::default(),
            resyncs: 0,
            reopened: 0,
            broken: 0,
            pending: 0,
        };
        for number in 0..plan.connections.min(plan.dataset.nodes) {
            let connection = crew.open(number)?;
            crew.lines.push(Line::new(connection));
        }
        Ok(crew)
    }

    /// Calls that are not answered yet.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Connections that were opened again, and calls that the server left without a reply.
    pub(super) fn reopened(&self) -> (u64, u64) {
        (self.reopened, self.broken)
    }

    /// What came back since the last time, and how often the whole set was asked for.
    pub(super) fn take_tally(&mut self) -> (Tally, u64) {
        (
            std::mem::take(&mut self.tally),
            std::mem::take(&mut self.resyncs),
        )
    }

    /// Makes a call as soon as the agent's connection is free.
    pub(super) fn call(&mut self, call: Call) -> Result<()> {
        let number = line_of(call.agent, self.lines.len());
        self.line(number)?.waiting.push_back(call);
        self.pending += 1;
        self.go_on(number)
    }

    /// Takes what comes back, for at most so long.
    pub(super) fn serve(&mut self, at_most: Duration) -> Result<()> {
        let ready: Vec<_> = self.poll.wait(at_most)?.collect();
        for number in ready {
            if let Err(error) = self.exchange(number) {
                if !is_closing(&error) {
                    return Err(error);
                }
                self.closed(number)?;
            }
        }
        Ok(())
    }

    fn exchange(&mut self, number: usize) -> Result<()> {
        let line = self
            .lines
            .get_mut(number)
            .context("an event of no connection")?;
        let Some(connection) = &mut line.connection else {
            return Ok(());
        };
        connection.flush()?;
        if let Some(reply) = connection.receive(&mut self.scratch)? {
            let call = line
                .under_way
                .take()
                .context("a reply that nobody asked for")?;
            if reply.last {
                line.connection = None;
            }
            self.pending -= 1;
            self.answered(call, reply)?;
            self.go_on(number)?;
        }
        Ok(())
    }

    /// The server has closed a connection: as it does when nothing was asked for a while, or with a
    /// call in flight, which is made again.
    fn closed(&mut self, number: usize) -> Result<()> {
        let line = self.line(number)?;
        line.connection = None;
        if let Some(call) = line.under_way.take() {
            line.waiting.push_front(call);
            self.broken += 1;
        }
        self.go_on(number)
    }

    fn answered(&mut self, call: Call, reply: Reply) -> Result<()> {
        self.tally.add(reply, Some(call.due.elapsed()));
        if reply.resync {
            self.resyncs += 1;
        }
        // A set that was not taken is told again, as agents do.
        let is_taken = (200..300).contains(&reply.status);
        if reply.resync || (call.kind == Kind::Sync && !is_taken) {
            return self.call(Call::now(call.agent, Kind::Sync));
        }
        Ok(())
    }

    /// Sends the next call of a connection that is free; opens it where it was closed.
    fn go_on(&mut self, number: usize) -> Result<()> {
        let line = self.line(number)?;
        if line.under_way.is_some() {
            return Ok(());
        }
        let Some(call) = line.waiting.pop_front() else {
            return Ok(());
        };
        line.under_way = Some(call);
        if line.connection.is_none() {
            let connection = self.open(u32::try_from(number)?)?;
            self.reopened += 1;
            self.line(number)?.connection = Some(connection);
        }
        let request = self.request(call);
        let connection = self.line(number)?.connection.as_mut();
        // What fails here is told by the next wait.
        let _ = connection
            .context("a connection that was just opened")?
            .send(request);
        Ok(())
    }

    fn open(&self, number: u32) -> Result<Connection> {
        let [_, _, _, last] = (number / OF_ONE_ADDRESS + 1).to_be_bytes();
        let connection = Connection::open_from(Ipv4Addr::new(127, 0, 1, last), self.plan.server)?;
        self.poll.add(&connection, index(number))?;
        Ok(connection)
    }

    fn line(&mut self, number: usize) -> Result<&mut Line> {
        self.lines
            .get_mut(number)
            .context("an agent without a connection")
    }

    fn request(&mut self, call: Call) -> Vec<u8> {
        let Call { agent, kind, .. } = call;
        match kind {
            Kind::Keepalive => calls::keepalive(agent, Some(self.version(agent))),
            Kind::Find => calls::find(self.popularity.draw(&mut self.random).into(), COUNT, agent),
            Kind::FindMany => calls::find_many(&self.image(), COUNT, agent),
            Kind::Advertise => {
                if let Some(seq) = self.seqs.get_mut(index(agent)) {
                    *seq += 1;
                }
                calls::advertise(agent, &self.image(), Some(self.version(agent)))
            }
            Kind::Sync => {
                let keys = self.plan.dataset.keys_of(&self.popularity, agent);
                let keys: Vec<_> = keys.into_iter().map(u64::from).collect();
                calls::sync(agent, &keys, Some(self.version(agent)))
            }
        }
    }

    fn image(&mut self) -> Vec<u64> {
        let draw = |_| self.popularity.draw(&mut self.random).into();
        (0..LAYERS).map(draw).collect()
    }

    fn version(&self, agent: u32) -> Version {
        Version {
            epoch: self.plan.epoch,
            seq: self.seqs.get(index(agent)).copied().unwrap_or_default(),
        }
    }
}
