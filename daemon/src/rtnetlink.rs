//! Changes of this host's addresses, as rtnetlink(7) reports them.
//!
//! Only that something has changed is heard; what there is now is asked of the kernel in other ways.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

/// The groups of addresses of both families (`RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`).
const GROUPS: u32 = 0x10 | 0x100;
/// Bytes of messages that are read at a time; what does not fit is dropped with the message.
const BUFFER: usize = 8 << 10;

/// A socket on which the kernel tells of changes. Dropping it closes it.
#[derive(Debug)]
pub struct AddressChanges(AsyncFd<OwnedFd>);

impl AddressChanges {
    /// Hears of what changes from now on in this process's network namespace. Call it within a runtime.
    ///
    /// # Errors
    /// When the kernel has no such sockets, or they are forbidden.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor, which is all that the unsafe successor asks"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self(socket))
    }

    /// Waits until something has changed. No change is lost if the future is dropped while it waits.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [0; BUFFER];
        loop {
            match recv(self.0.get_ref(), &mut buffer[..], RecvFlags::empty()) {
                // The kernel had more to tell than the socket holds: something has changed.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
