//! A TCP connection with or without TLS, read and written without waiting, as a TCP socket is.

use std::{io, os::fd::AsFd as _, time::Duration};

use parking_lot::Mutex;
use rustix::net::{Shutdown, shutdown};
use tokio::{net::TcpStream, time::Instant};

use super::session::Session;

/// A TCP connection with or without TLS.
///
/// Where it has TLS, what was written may wait in memory until the next call; [`try_flush`](Self::try_flush) says
/// when the kernel has it. A stream that was cut off reads as an error, never as an end.
#[derive(Debug)]
pub struct Socket {
    /// Before the stream: what counts its bytes looks at it a last time.
    encrypted: Option<Box<Encrypted>>,
    tcp: TcpStream,
}

/// How far apart both sides may find that a certificate has expired. A connection that ends so shortly before
/// ends for that.
const APART: Duration = Duration::from_secs(5);

/// Nothing passes any more.
#[derive(Debug, thiserror::Error)]
#[error("the certificate of one of both sides has expired")]
struct Expired;

#[derive(Debug)]
struct Encrypted {
    /// Held for as long as a call takes that does not wait.
    session: Mutex<Session>,
    /// When one of both certificates expires, if ever. No byte passes after that.
    until: Option<Instant>,
}

/// Whether a connection failed because the certificate of one of its sides has expired.
pub fn is_expiry(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Expired>)
}

impl Socket {
    /// Without TLS.
    pub fn plain(tcp: TcpStream) -> Self {
        let encrypted = None;
        Self { encrypted, tcp }
    }

    pub(super) fn encrypted(tcp: TcpStream, session: Session, until: Option<Instant>) -> Self {
        let session = Mutex::new(session);
        let encrypted = Some(Box::new(Encrypted { session, until }));
        Self { encrypted, tcp }
    }

    /// The connection, for its options and for who watches it.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The connection, where what passes is what was meant: the kernel may move it by itself.
    pub fn as_plain(&self) -> Option<&TcpStream> {
        self.encrypted.is_none().then_some(&self.tcp)
    }

    /// Whether the certificates of both sides let bytes pass still.
    pub fn is_current(&self) -> bool {
        self.encrypted.as_deref().is_none_or(Encrypted::is_current)
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// As those of [`TcpStream::readable`].
    pub async fn readable(&self) -> io::Result<()> {
        let has_more = |encrypted: &Encrypted| encrypted.session.lock().has_more();
        if self.encrypted.as_deref().is_some_and(has_more) {
            return Ok(());
        }
        self.tcp.readable().await
    }

    /// Waits until there may be room for more.
    ///
    /// # Errors
    /// As those of [`TcpStream::writable`].
    pub async fn writable(&self) -> io::Result<()> {
        self.tcp.writable().await
    }

    /// Reads what there is; 0 at the end.
    ///
    /// # Errors
    /// As those of [`TcpStream::try_read`], and of TLS.
    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        match self.current()? {
            None => self.tcp.try_read(room),
            Some(encrypted) => encrypted.read(room, |room| self.tcp.try_read(room)),
        }
    }

    /// [`try_read`](Self::try_read) regardless of what the runtime knows of the socket's readiness.
    ///
    /// # Errors
    /// As those of read(2), and of TLS.
    pub fn read_now(&self, room: &mut [u8]) -> io::Result<usize> {
        let read = |room: &mut [u8]| Ok(rustix::io::read(self.tcp.as_fd(), room)?);
        match self.current()? {
            None => read(room),
            Some(encrypted) => encrypted.read(room, read),
        }
    }

    /// Bytes that were taken from the kernel and not read yet.
    pub fn held(&self) -> usize {
        let held = |encrypted: &Encrypted| encrypted.session.lock().held();
        self.encrypted.as_deref().map_or(0, held)
    }

    /// Writes some of `bytes`.
    ///
    /// # Errors
    /// As those of [`TcpStream::try_write`], and of TLS.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.current()? {
            None => self.tcp.try_write(bytes),
            Some(encrypted) => encrypted.judge(|session| session.write(&self.tcp, bytes)),
        }
    }

    /// Writes what `fill` puts into the room that it is given, of `most` bytes at most.
    ///
    /// # Errors
    /// As those of [`try_write`](Self::try_write) and of `fill`; an input error where there is no TLS, and
    /// so no room either.
    pub fn try_write_with(
        &self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self.current()? {
            None => Err(io::ErrorKind::InvalidInput.into()),
            Some(encrypted) => encrypted.judge(|session| session.write_with(&self.tcp, most, fill)),
        }
    }

    /// Has the kernel take all that was written.
    ///
    /// # Errors
    /// As those of [`TcpStream::try_write`]; a "would block" among them is to be waited for.
    pub fn try_flush(&self) -> io::Result<()> {
        match self.current()? {
            None => Ok(()),
            Some(encrypted) => encrypted.judge(|session| session.flush(&self.tcp)),
        }
    }

    /// Returns memory until more is to be read or written.
    pub fn rest(&self) {
        if let Some(encrypted) = &self.encrypted {
            encrypted.session.lock().rest();
        }
    }

    /// Says to the other side that this was all, and ends the writing half.
    ///
    /// # Errors
    /// As those of shutdown(2).
    pub fn shut(&self) -> io::Result<()> {
        if let Some(encrypted) = &self.encrypted {
            let mut session = encrypted.session.lock();
            session.close();
            // Without it the other side takes what follows for cut off, which is nothing.
            let _ = session.flush(&self.tcp);
        }
        Ok(shutdown(&self.tcp, Shutdown::Write)?)
    }

    /// What encrypts it, if something does.
    fn current(&self) -> io::Result<Option<&Encrypted>> {
        let encrypted = self.encrypted.as_deref();
        match encrypted {
            Some(encrypted) if !encrypted.is_current() => Err(expired()),
            _ => Ok(encrypted),
        }
    }
}

impl Encrypted {
    fn is_current(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether the other side may find that it is not current any more.
    fn is_ending(&self) -> bool {
        (self.until).is_some_and(|until| until.saturating_duration_since(Instant::now()) <= APART)
    }

    fn read(
        &self,
        room: &mut [u8],
        receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let is_end = !room.is_empty();
        match self.judge(|session| session.read(room, receive))? {
            0 if is_end && self.is_ending() => Err(expired()),
            count => Ok(count),
        }
    }

    /// What `call` comes to, and why it failed.
    fn judge<T>(&self, call: impl FnOnce(&mut Session) -> io::Result<T>) -> io::Result<T> {
        let result = call(&mut self.session.lock());
        match result {
            Err(error) if is_end(&error) && self.is_ending() => Err(expired()),
            result => result,
        }
    }
}

fn expired() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, Expired)
}

/// Whether the other side has ended the connection.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
