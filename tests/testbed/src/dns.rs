//! A name server for one network namespace.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Netns;

const PORT: u16 = 53;
/// Between two looks whether it is to end.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Fields of a message's head, RFC 1035 section 4.1.1.
const HEAD: usize = 12;
const REPLY: u8 = 0x84;
const NO_SUCH_NAME: u8 = 3;
/// Address records of IPv4, and of the Internet.
const A: [u8; 4] = [0, 1, 0, 1];

/// Answers on 127.0.0.1, until it is dropped, for the names it was given; no other name exists.
#[derive(Debug)]
pub struct NameServer {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// When the port is taken there.
    pub fn start(netns: &Netns, names: &[(&str, IpAddr)]) -> Result<Self> {
        let socket = netns.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)).context("binding port 53")?;
            socket.set_read_timeout(Some(READ_TIMEOUT))?;
            Ok(socket)
        })?;
        let names: BTreeMap<_, _> = names
            .iter()
            .map(|(name, address)| ((*name).to_owned(), *address))
            .collect();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            while !end.load(Ordering::Relaxed) {
                match socket.recv_from(&mut query) {
                    Ok((length, from)) => {
                        let query = query.get(..length).unwrap_or_default();
                        if let Some(reply) = reply(query, &names) {
                            // The client asks again.
                            let _ = socket.send_to(&reply, from);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Self {
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported already.
            let _ = thread.join();
        }
    }
}

/// The reply to a query of one question.
fn reply(query: &[u8], names: &BTreeMap<String, IpAddr>) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let kind = query.get(end..end + A.len())?;
    let known = names.get(&name);
    let address = match known {
        Some(IpAddr::V4(address)) if kind == A => Some(address.octets()),
        _ => None,
    };
    let mut reply = query.get(..2)?.to_vec();
    let code = if known.is_some() { 0 } else { NO_SUCH_NAME };
    reply.extend([
        REPLY,
        code,
        0,
        1,
        0,
        u8::from(address.is_some()),
        0,
        0,
        0,
        0,
    ]);
    reply.extend(query.get(HEAD..end + A.len())?);
    if let Some(address) = address {
        // The name of the question, a record like the one that was asked for, good for no time.
        reply.extend([0xc0, 12]);
        reply.extend(A);
        reply.extend([0, 0, 0, 0, 0, 4]);
        reply.extend(address);
    }
    Some(reply)
}

/// The name that is asked for, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEAD;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}
