//! Which of a connection's callbacks are needed.
//!
//! While this side sends a long answer, the kernel calls before every segment, and several times
//! for every write of the application. The next round trip's callback reports the same. So a
//! connection with a [promise](crate::Promise) rests: only the callback per round trip is left.
//!
//! The kernel reports a round trip when data is acknowledged that was sent after the last report,
//! so as long as new data follows, another report follows. Two events break that; each has a
//! callback of its own and ends the rest: a retransmission, whose acknowledgement may carry no
//! timestamp, and the end of a direction.
//!
//! Another program that watches each segment of the same sockets would miss some. So a connection
//! never rests if another program writes options on it or asked for these callbacks first. A
//! program that only observes, and asks later, is not noticed.

/// How a connection is watched; zeroed storage is a connection that is watched in full.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    state: u64,
}

/// Which callbacks have to be asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callbacks {
    /// Those that come already.
    Same,
    /// All of them again.
    All,
    /// All but those before each segment.
    RoundTrips,
}

const FULL: u64 = 0;
const RESTS: u64 = 1;
/// Another program needs every callback too.
const SHARED: u64 = 2;

impl Watch {
    /// A round trip has ended; `more_follows` says whether new data is sure to come.
    #[inline]
    pub fn round_trip(&mut self, more_follows: bool) -> Callbacks {
        match (self.state, more_follows) {
            (FULL, true) => {
                self.state = RESTS;
                Callbacks::RoundTrips
            }
            (RESTS, false) => self.wake(),
            _ => Callbacks::Same,
        }
    }

    /// A round trip can no longer be relied on.
    #[inline]
    pub fn wake(&mut self) -> Callbacks {
        if self.state != RESTS {
            return Callbacks::Same;
        }
        self.state = FULL;
        Callbacks::All
    }

    /// Another program needs every callback of this connection: it never rests.
    #[inline]
    pub fn share(&mut self) -> Callbacks {
        let callbacks = self.wake();
        self.state = SHARED;
        callbacks
    }
}
