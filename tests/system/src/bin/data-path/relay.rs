//! Relays as simple as can be: one thread for each direction, no look at what passes.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Relays connections to one address.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long)]
    way: Way,
}

/// How bytes are moved from the upstream to the client.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// Through a pipe in the kernel.
    Splice,
    /// Through memory.
    Copy,
}

/// Size of the pipe.
const PIPE: usize = 1 << 20;
/// Size of the buffer.
const BUFFER: usize = 256 << 10;

impl Relay {
    pub(crate) fn run(&self) -> Result<()> {
        let listener = TcpListener::bind(self.listen).context("listening")?;
        let (upstream, way) = (self.upstream, self.way);
        for client in listener.incoming() {
            let client = client.context("accepting")?;
            // A connection that breaks off is the other side's matter.
            thread::spawn(move || relay(&client, upstream, way));
        }
        Ok(())
    }
}

fn relay(client: &TcpStream, upstream: SocketAddr, way: Way) -> Result<()> {
    let upstream = TcpStream::connect(upstream)?;
    for socket in [client, &upstream] {
        socket.set_nodelay(true)?;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let requests = copy(client, &upstream, 4 << 10);
            let _ = upstream.shutdown(Shutdown::Write);
            requests
        });
        let replies = match way {
            Way::Splice => pass(&upstream, client),
            Way::Copy => copy(&upstream, client, BUFFER),
        };
        let _ = client.shutdown(Shutdown::Both);
        Ok(replies?)
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}

fn pass(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&write, PIPE)?;
    loop {
        let mut held = splice(from, None, &write, None, PIPE, SpliceFlags::MOVE)?;
        if held == 0 {
            return Ok(());
        }
        while held > 0 {
            held -= splice(&read, None, to, None, held, SpliceFlags::MOVE)?;
        }
    }
}
