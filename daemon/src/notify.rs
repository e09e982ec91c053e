//! Telling systemd how the process is: sd_notify(3), over the socket that it names.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
};

/// Tells; where nobody listens, to no effect. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    to: SocketAddr,
    watched: bool,
}

impl Notifier {
    /// Tells whoever listens at `socket`: a path, or `@` and a name without a file. `watched` says
    /// whether signs of life are expected.
    ///
    /// # Errors
    /// When there is no such socket to be had.
    pub fn new(socket: &OsStr, watched: bool) -> io::Result<Self> {
        let to = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        let inner = Inner {
            socket: UnixDatagram::unbound()?,
            to,
            watched,
        };
        // A listener that takes nothing must not hold the process.
        inner.socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(inner))))
    }

    /// Whether signs of life are expected.
    pub fn is_watched(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.watched)
    }

    /// The process has started.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, what: &str) {
        if let Some(inner) = &self.0 {
            // Whoever does not listen any more draws its own conclusions.
            let _ = inner.socket.send_to_addr(what.as_bytes(), &inner.to);
        }
    }
}
