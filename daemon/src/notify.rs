//! Notifies systemd of the process's state: sd_notify(3), over the socket that systemd names.

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

/// Sends notifications; without a listener they have no effect. Clones share the socket.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    to: SocketAddr,
    watched: bool,
}

impl Notifier {
    /// Notifies the listener at `socket`: a path, or `@` and the name of an abstract socket.
    /// `watched` says whether the listener expects keepalives.
    ///
    /// # Errors
    /// When the socket cannot be opened.
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
        // A listener that does not read must not block the process.
        inner.socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(inner))))
    }

    /// Whether the listener expects keepalives.
    pub fn is_watched(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.watched)
    }

    /// The process has started.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// A keepalive for the watchdog.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, what: &str) {
        if let Some(inner) = &self.0 {
            // systemd notices by itself that the notification is missing.
            let _ = inner.socket.send_to_addr(what.as_bytes(), &inner.to);
        }
    }
}
