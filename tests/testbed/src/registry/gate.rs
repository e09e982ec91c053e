//! A gate before a registry that turns some clients away, or lets them wait.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::{netns::Netns, network::Host};

const PORT: u16 = 5001;
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes that are passed on at a time.
const PIECE: usize = 16 << 10;
/// Bytes that the registry is ahead of its client by the gate: it counts them as sent.
const AHEAD: usize = 64 << 10;
/// Between two looks whether a client has to wait any longer.
const LOOK: Duration = Duration::from_millis(20);
/// Between two pieces for a client that is served slowly.
const PAUSE: Duration = Duration::from_millis(200);
/// Longer heads are no requests of a containerd, and no answers of a registry.
const HEAD: u64 = 64 << 10;

/// What a registry has against a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It answers with this status. What it is sending ends.
    Status(u16),
    /// It sends 80 kB/s.
    Slow,
    /// It takes requests, and sends no byte more.
    Silent,
}

/// Clients reach a registry through it, which sees who they are. Dropping it closes it.
#[derive(Debug)]
pub struct Gate {
    netns: Netns,
    address: SocketAddr,
    rules: Arc<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    refused: Mutex<HashMap<IpAddr, Refusal>>,
    closed: AtomicBool,
}

impl Gate {
    /// Opens it on the registry's host.
    pub(super) fn open(host: &Host, registry: SocketAddr) -> Result<Self> {
        let address = SocketAddr::new(host.address, PORT);
        let listener = host.netns.listen(address)?;
        let rules = Arc::<Rules>::default();
        let (netns, known) = (host.netns.clone(), Arc::clone(&rules));
        thread::spawn(move || accept(&listener, &netns, registry, &known));
        Ok(Self {
            netns: host.netns.clone(),
            address,
            rules,
        })
    }

    /// Where nodes reach the registry through it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on a client gets this.
    pub fn refuse(&self, client: IpAddr, how: Refusal) {
        self.rules.refused.lock().insert(client, how);
    }

    /// The client is served again.
    pub fn serve(&self, client: IpAddr) {
        self.rules.refused.lock().remove(&client);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.rules.closed.store(true, Ordering::Relaxed);
        // Wakes the one that accepts; should that fail, it ends with the program.
        let _ = self.netns.connect(self.address, CONNECT);
    }
}

fn accept(listener: &TcpListener, netns: &Netns, registry: SocketAddr, rules: &Arc<Rules>) {
    while let Ok((client, from)) = listener.accept() {
        if rules.closed.load(Ordering::Relaxed) {
            return;
        }
        let (netns, rules) = (netns.clone(), Arc::clone(rules));
        thread::spawn(move || {
            if let Ok(behind) = netns.connect(registry, CONNECT) {
                // Either side may break off.
                let _ = pass(&client, &behind, from.ip(), &rules);
                let _ = behind.shutdown(Shutdown::Both);
            }
            // In order, so that containerd sees an end and no reset.
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

/// Passes on requests and answers, one by one.
fn pass(client: &TcpStream, behind: &TcpStream, from: IpAddr, rules: &Rules) -> io::Result<()> {
    set_socket_recv_buffer_size(behind, AHEAD)?;
    client.set_nodelay(true)?;
    behind.set_nodelay(true)?;
    let (mut to_client, mut to_registry) = (client, behind);
    let (mut requests, mut answers) = (BufReader::new(client), BufReader::new(behind));
    loop {
        let request = read_head(&mut requests)?;
        if request.is_empty() {
            return Ok(());
        }
        if let Some(Refusal::Status(status)) = rules.of(from) {
            to_client.write_all(refusal(status).as_bytes())?;
            continue;
        }
        let (first, fields) = request.split_once("\r\n").unwrap_or((&request, ""));
        write!(
            to_registry,
            "{first}\r\nX-Forwarded-For: {from}\r\n{fields}"
        )?;
        let answer = read_head(&mut answers)?;
        to_client.write_all(answer.as_bytes())?;
        let has_body = !first.starts_with("HEAD ");
        let mut left = length(&answer).filter(|_| has_body).unwrap_or_default();
        let mut piece = [0; PIECE];
        while left > 0 {
            rules.let_wait(from)?;
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let room = piece.get_mut(..most).unwrap_or_default();
            answers.read_exact(room)?;
            to_client.write_all(room)?;
            left -= u64::try_from(most).unwrap_or(left);
        }
    }
}

/// A head with its empty line; nothing where the other side has ended.
fn read_head(from: &mut BufReader<&TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    let mut lines = from.take(HEAD);
    loop {
        let size = lines.read_line(&mut head)?;
        if size == 0 && head.is_empty() {
            return Ok(head);
        }
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.ends_with("\r\n\r\n") {
            return Ok(head);
        }
    }
}

fn length(head: &str) -> Option<u64> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next()?.1.trim().parse().ok()
}

fn refusal(status: u16) -> String {
    let more = match status {
        401 => "WWW-Authenticate: Basic realm=\"registry\"\r\n",
        429 => "Retry-After: 1\r\n",
        _ => "",
    };
    format!("HTTP/1.1 {status} Refused\r\n{more}Content-Length: 0\r\n\r\n")
}

impl Rules {
    fn of(&self, client: IpAddr) -> Option<Refusal> {
        self.refused.lock().get(&client).copied()
    }

    /// Waits as long as the client has to before its next piece.
    fn let_wait(&self, client: IpAddr) -> io::Result<()> {
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match self.of(client) {
                None => return Ok(()),
                Some(Refusal::Status(_)) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Some(Refusal::Slow) => {
                    thread::sleep(PAUSE);
                    return Ok(());
                }
                Some(Refusal::Silent) => thread::sleep(LOOK),
            }
        }
    }
}
