//! Waiting for a socket, no longer than it deserves.

use std::{io, time::Duration};

use daemon::tls::Socket;
use tokio::time::{Instant, timeout, timeout_at};

use super::floor::{Floor, RateFloor};

/// How long a receiver may take no byte before it is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(pub(crate) Duration);

/// What a receiver has to do to be sent more.
#[derive(Debug, Clone, Copy)]
pub struct Receiver {
    /// How long it may take no byte.
    pub patience: Duration,
    /// The least that it has to take; time in which there was nothing to take does not count.
    pub floor: RateFloor,
}

/// Judges a receiver during one transfer.
#[derive(Debug)]
pub(crate) struct Judge {
    patience: Patience,
    floor: Floor,
}

impl Patience {
    /// Waits until the socket takes bytes.
    pub(super) async fn writable(self, socket: &Socket) -> io::Result<()> {
        match timeout(self.0, socket.writable()).await {
            Ok(result) => result,
            Err(_) => Err(given_up("the receiver takes no bytes")),
        }
    }
}

impl Receiver {
    /// One that may be as slow as it likes, if only it takes some bytes in this time.
    pub fn patient(patience: Duration) -> Self {
        Self {
            patience,
            floor: RateFloor {
                bytes: 0,
                window: patience,
            },
        }
    }

    /// Begins to judge it.
    pub(crate) fn judge(self) -> Judge {
        Judge {
            patience: Patience(self.patience),
            floor: Floor::new(self.floor, Instant::now()),
        }
    }
}

impl Judge {
    /// The receiver took bytes.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.floor.add(bytes);
    }

    /// Reports how long no data was available.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.floor.pause(time);
    }

    /// Waits until the socket takes bytes.
    pub(crate) async fn writable(&mut self, socket: &Socket) -> io::Result<()> {
        let end = Instant::now() + self.patience.0;
        loop {
            let next = self.floor.next_check().min(end);
            if let Ok(ready) = timeout_at(next, socket.writable()).await {
                return ready;
            }
            let now = Instant::now();
            if now >= end {
                return Err(given_up("the receiver takes no bytes"));
            }
            if !self.floor.check(now) {
                return Err(given_up("the receiver is slower than the least rate"));
            }
        }
    }
}

fn given_up(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}
