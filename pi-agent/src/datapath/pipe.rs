//! A pipe in the kernel, through which pages go from one socket to another.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fd::AsFd,
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// Size that is asked for. A large pipe lets one call move what came since the last one.
const FULL_SIZE: usize = 1 << 20;
/// Size that is asked for when the user's pipes together are over the kernel's limit.
const REDUCED_SIZE: usize = 256 << 10;
/// What a pipe has that got neither.
const KERNEL_DEFAULT_SIZE: usize = 64 << 10;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
    held: usize,
}

impl Pipe {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let size = [FULL_SIZE, REDUCED_SIZE]
            .into_iter()
            .find_map(|size| fcntl_setpipe_size(&write, size).ok())
            .unwrap_or(KERNEL_DEFAULT_SIZE);
        Ok(Self {
            read,
            write,
            size,
            held: 0,
        })
    }

    /// Bytes in the pipe.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes up to `most` bytes from `source`. The pipe has to be empty: only then does
    /// "would block" speak of the source.
    pub(super) fn fill(&mut self, source: impl AsFd, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.size);
        let taken = retry(|| splice(&source, None, &self.write, None, most, flags()))?;
        self.held += taken;
        Ok(taken)
    }

    /// Gives what is in the pipe to `sink`, as much as that takes.
    pub(super) fn drain(&mut self, sink: impl AsFd) -> io::Result<usize> {
        let given = retry(|| splice(&self.read, None, &sink, None, self.held, flags()))?;
        self.held -= given;
        Ok(given)
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::NONBLOCK | SpliceFlags::MOVE
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
