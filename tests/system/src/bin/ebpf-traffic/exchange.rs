//! One question, one answer.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result};

/// Sends `bytes` bytes.
pub(crate) fn send(mut stream: &TcpStream, bytes: u64) -> Result<()> {
    let chunk = vec![0x5a; 65_536];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left)
            .unwrap_or(chunk.len())
            .min(chunk.len());
        stream.write_all(&chunk[..now]).context("sending")?;
        left -= u64::try_from(now).unwrap_or(0);
    }
    Ok(())
}

/// Receives exactly `bytes` bytes.
pub(crate) fn receive(stream: &TcpStream, bytes: u64) -> Result<()> {
    let received = drain(&mut stream.take(bytes))?;
    anyhow::ensure!(
        received == bytes,
        "{received} bytes came instead of {bytes}"
    );
    Ok(())
}

/// Receives up to the end; gives how much came.
pub(crate) fn receive_all(mut stream: &TcpStream) -> Result<u64> {
    drain(&mut stream)
}

fn drain(from: &mut impl Read) -> Result<u64> {
    let mut buffer = vec![0; 1 << 18];
    let mut received = 0;
    loop {
        match from.read(&mut buffer).context("receiving")? {
            0 => return Ok(received),
            n => received += u64::try_from(n).unwrap_or(0),
        }
    }
}
