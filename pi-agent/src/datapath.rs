//! Moves bodies: the only place that does.
//!
//! A file goes to a socket by `sendfile`, a socket to a socket by `splice` through a pipe where
//! nothing has to look at the bytes, and by large reads and writes where something has. With TLS the bytes
//! are encrypted and decrypted here, so that there are reads and writes only; a kernel that does that by
//! itself would have `Socket::as_plain` say so.

mod copy;
mod fill;
mod finish;
mod floor;
mod low_water;
mod pace;
mod pipe;
mod relay;
mod relayed;
mod send;
mod source;
mod tally;
mod wait;

pub(crate) use self::{
    copy::{Tap, copy},
    fill::fill,
    finish::finish,
    relay::relay,
    send::{Grown, Grows, read_exact, send_growing, write_all, write_judged},
    tally::Tally,
    wait::Patience,
};
pub use self::{
    floor::{Floor, RATE_FLOOR, RateFloor},
    pace::Pace,
    relayed::{End, Relayed},
    send::{SendError, send_file},
    source::SourceError,
    wait::Receiver,
};

/// Most bytes that one system call moves, so that transfers on one thread take turns.
const TURN: usize = 1 << 20;

#[cfg(test)]
mod tests;
