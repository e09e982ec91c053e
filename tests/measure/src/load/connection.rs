//! One HTTP/1.1 connection that is kept open and never waits.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// A buffer that most replies fit in.
pub(crate) const SCRATCH: usize = 64 << 10;

/// A connection; one request is in flight at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    sent: usize,
    /// A reply of which a part is missing.
    input: Vec<u8>,
}

/// A reply that has arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Bytes of head and body.
    pub(crate) bytes: usize,
    /// The server asks for the whole set.
    pub(crate) resync: bool,
    /// It is the last one of its connection.
    pub(crate) last: bool,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("dialling {server}"))?;
        Self::over(stream)
    }

    /// Opens one from an address of this machine, as one address has too few ports for many.
    pub(crate) fn open_from(source: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        let dial = || {
            let family = AddressFamily::INET;
            // Not to wait for one that finds no room, while others could be served.
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
            rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
            match rustix::net::connect(&socket, &server) {
                Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
                Err(error) => Err(error),
            }
        };
        let socket: Result<_, rustix::io::Errno> = dial();
        let socket = socket.with_context(|| format!("dialling {server} from {source}"))?;
        Self::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Result<Self> {
        stream
            .set_nodelay(true)
            .context("setting up a connection")?;
        stream
            .set_nonblocking(true)
            .context("setting up a connection")?;
        Ok(Self {
            stream,
            output: Vec::new(),
            sent: 0,
            input: Vec::new(),
        })
    }

    /// Sends what `write` writes, now or as soon as it can be.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.output.clear();
        self.sent = 0;
        write(&mut self.output);
        self.flush()
    }

    /// Sends a request, now or as soon as it can be; keeps it only until it is sent.
    pub(crate) fn send(&mut self, request: Vec<u8>) -> Result<()> {
        self.output = request;
        self.sent = 0;
        self.flush()?;
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// Sends what could not be sent yet.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error).context("sending a request"),
            }
        }
        Ok(())
    }

    /// The reply, if it is there. What arrives is read into `scratch`, which any connection may use.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Result<Option<Reply>> {
        loop {
            let read = match self.stream.read(scratch) {
                Ok(0) => {
                    let closed = io::Error::from(ErrorKind::UnexpectedEof);
                    return Err(closed).context("the server closed a connection");
                }
                Ok(bytes) => scratch.get(..bytes).unwrap_or_default(),
                Err(error) if is_later(&error) => return Ok(None),
                Err(error) => return Err(error).context("reading a reply"),
            };
            if self.input.is_empty()
                && let Some(reply) = parse(read)?
            {
                return Ok(Some(reply));
            }
            self.input.extend_from_slice(read);
            if let Some(reply) = parse(&self.input)? {
                self.input = Vec::new();
                return Ok(Some(reply));
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The reply in `bytes`, unless it is not all there yet.
fn parse(bytes: &[u8]) -> Result<Option<Reply>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = bytes.get(..end).unwrap_or_default();
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix(b"HTTP/1.1 "));
    let status = status.and_then(|rest| number(rest.get(..3)?));
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then(|| number(value))?
    });
    let (Some(status), Some(length)) = (status, length) else {
        bail!(
            "a reply without status or length: {}",
            String::from_utf8_lossy(head)
        );
    };
    let whole = length.saturating_add(end + 4);
    let status = u16::try_from(status).context("a status of three digits")?;
    let Some(body) = bytes.get(end + 4..whole) else {
        return Ok(None);
    };
    let wish = b"\"resync\":true";
    Ok(Some(Reply {
        status,
        bytes: whole,
        // Only short replies may say so.
        resync: body.len() < 512 && body.windows(wish.len()).any(|part| part == wish),
        last: head
            .split(|byte| *byte == b'\n')
            .any(|line| line.trim_ascii().eq_ignore_ascii_case(b"connection: close")),
    }))
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_whole_with_its_last_byte() {
        let text = b"HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 3\r\n\r\nabc";
        let whole = Reply {
            status: 404,
            bytes: text.len(),
            resync: false,
            last: false,
        };
        assert_eq!(parse(text).expect("sound"), Some(whole));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]).expect("sound so far"), None, "{cut}");
        }
        let text = b"HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let reply = parse(text).expect("sound").expect("whole");
        assert!(reply.last);
        parse(b"HTTP/1.1 200 OK\r\n\r\n").expect_err("a reply without a length");
    }
}
