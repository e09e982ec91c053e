//! Which of a connection's callbacks are needed.
//!
//! While this side sends a long answer, the kernel calls before every segment, and several times for
//! every write of the application, and each call says what the next round trip says too. So the
//! connection rests where more is [promised](crate::Promise): only the round trip's own callback is
//! left.
//!
//! The kernel reports a round trip when something is acknowledged that was sent after the last
//! report, so that new data to come is the promise of another report. What breaks that has a callback
//! of its own, and ends the rest: a segment sent again, whose acknowledgement may tell no time, and
//! the end of a direction, after which nothing new follows.
//!
//! A program that looks at each segment of the same sockets would miss some, so that a connection on
//! which another one writes options, or asked for these callbacks first, never rests. One that only
//! looks on, and asks later, is not noticed.

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
/// Somebody else needs every callback too.
const SHARED: u64 = 2;

impl Watch {
    /// A round trip has ended, and new data is sure to follow or not.
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
