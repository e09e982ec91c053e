//! Waiting for many sockets at once.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::{buffer::spare_capacity, event::epoll, io::Errno, time::Timespec};

/// Events of one wait.
const EVENTS: usize = 256;

/// An epoll instance that tells each change once.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("making an epoll")?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(EVENTS),
        })
    }

    pub(crate) fn add(&self, socket: &impl AsFd, token: usize) -> Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(crate::numbers::wide(token));
        epoll::add(&self.epoll, socket, data, flags).context("watching a socket")
    }

    /// Tokens of sockets that can be read from or written to since they could not.
    pub(crate) fn wait(&mut self, at_most: Duration) -> Result<impl Iterator<Item = usize>> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for sockets"),
        }
        let token = |event: &epoll::Event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
        Ok(self.events.iter().map(token))
    }
}
