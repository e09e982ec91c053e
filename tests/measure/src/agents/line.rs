//! One connection and the calls that wait for it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::load::Connection;

/// A call of an agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) agent: u32,
    pub(super) kind: Kind,
    pub(super) due: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sync,
    Keepalive,
    FindMany,
    Find,
    Advertise,
}

/// An agent's connection to the server, with one call in flight.
#[derive(Debug)]
pub(super) struct Line {
    /// None once the server has closed it, until the next call.
    pub(super) connection: Option<Connection>,
    pub(super) under_way: Option<Call>,
    pub(super) waiting: VecDeque<Call>,
}

impl Call {
    pub(super) fn now(agent: u32, kind: Kind) -> Self {
        Self {
            agent,
            kind,
            due: Instant::now(),
        }
    }
}

impl Line {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection: Some(connection),
            under_way: None,
            waiting: VecDeque::new(),
        }
    }
}
