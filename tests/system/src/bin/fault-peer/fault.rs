//! The ways in which a peer fails a layer.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Result;
use clap::ValueEnum;
use rustix::process::{Signal, getpid, kill_process};

use crate::request::Found;

/// What goes wrong. "Half-way" is in the middle of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Half-way the process is killed.
    Kill,
    /// Half-way the process is stopped: its sockets stay open, and it does not answer.
    Stop,
    /// From half-way on there are 100 bytes a second.
    Trickle,
    /// Half-way the connection ends in order.
    Fin,
    /// Half-way the connection is reset.
    Rst,
    /// The byte in the middle is another.
    WrongBytes,
    /// The same, and in the middle of what is left the connection ends in order.
    WrongThenFin,
    /// The reply is said to be longer than it is.
    WrongLength,
    /// The reply is said to be another part.
    WrongRange,
    /// Status 500.
    ServerError,
    /// Status 429.
    TooManyRequests,
    /// The reply's head does not end.
    EndlessHeaders,
    /// The connection ends upon the request.
    ClosesAtOnce,
}

impl Fault {
    /// Fails a request for a layer. The connection is of no use after it.
    pub(crate) fn play(
        self,
        mut stream: &TcpStream,
        found: &Found,
        alternates: &[SocketAddr],
    ) -> Result<()> {
        let (middle, end) = (found.middle(), found.end);
        match self {
            Self::ServerError => {
                stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")?;
                return Ok(());
            }
            Self::TooManyRequests => {
                let others: Vec<_> = alternates.iter().map(ToString::to_string).collect();
                let others = others.join(", ");
                write!(
                    stream,
                    "HTTP/1.1 429 No\r\nPiccolo-Alternates: {others}\r\nContent-Length: 0\r\n\r\n"
                )?;
                return Ok(());
            }
            Self::EndlessHeaders => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                loop {
                    stream.write_all(b"X-More: and more\r\n")?;
                }
            }
            Self::ClosesAtOnce => return Ok(()),
            Self::WrongLength => {
                found.send_head_of(stream, found.start, found.len() + 100, found.size + 100)?;
                return found.send(stream, found.start, end);
            }
            Self::WrongRange => {
                found.send_head_of(stream, found.start + 1, found.len() - 1, found.size)?;
                return found.send(stream, found.start + 1, end);
            }
            _ => {}
        }
        found.send_head(stream)?;
        found.send(stream, found.start, middle)?;
        match self {
            Self::Kill => kill_process(getpid(), Signal::KILL)?,
            Self::Stop => {
                kill_process(getpid(), Signal::STOP)?;
                // This thread may run on for a moment, in which it must not close anything.
                loop {
                    thread::park();
                }
            }
            Self::Fin => end_in_order(stream)?,
            Self::Rst => rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?,
            Self::Trickle => {
                for at in middle..end {
                    stream.write_all(&[found.byte(at)?])?;
                    thread::sleep(Duration::from_millis(10));
                }
            }
            Self::WrongBytes => {
                stream.write_all(&[!found.byte(middle)?])?;
                found.send(stream, middle + 1, end)?;
            }
            Self::WrongThenFin => {
                stream.write_all(&[!found.byte(middle)?])?;
                found.send(stream, middle + 1, middle + (end - middle) / 2)?;
                end_in_order(stream)?;
            }
            _ => found.send(stream, middle, end)?,
        }
        Ok(())
    }
}

/// Ends a connection and waits until the other side has closed it too, so that no reset follows.
fn end_in_order(stream: &TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write)?;
    std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink())?;
    Ok(())
}
