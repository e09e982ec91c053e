//! Reports the sockets between agents to the accounting.

use std::{net::SocketAddr, os::fd::BorrowedFd};

use crate::{
    ebpf::{Registered, SocketTable},
    sockets::{SocketWatch, Watched},
};

impl SocketWatch for SocketTable {
    fn register(&self, peer: SocketAddr, socket: BorrowedFd<'_>) -> Box<dyn Watched> {
        Box::new(Self::register(self, peer, socket))
    }
}

impl Watched for Registered {
    fn received(&self, bytes: u64) {
        Self::received(self, bytes);
    }

    fn sent(&self, bytes: u64) {
        Self::sent(self, bytes);
    }

    fn will_receive(&self, socket: BorrowedFd<'_>, bytes: u64) {
        Self::will_receive(self, socket, bytes);
    }

    fn will_send(&self, socket: BorrowedFd<'_>, bytes: u64) {
        Self::will_send(self, socket, bytes);
    }
}
