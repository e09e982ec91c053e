//! What stands in for the cluster's DNS: the addresses of services, and of the bed's own hosts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde_json::Value;

use super::api::Api;
use super::{NAME_SERVER, REGISTRY};
use crate::network::Host;

const PORT: u16 = 53;
/// How soon a thread notices that it is to end.
const READ_TIMEOUT: Duration = Duration::from_millis(200);
const ZONE: &str = ".svc.cluster.local";
/// The header of a message: RFC 1035, 4.1.1.
const HEADER: usize = 12;
/// An address record of one question: type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// Answers on each node. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Names {
    known: Known,
    /// The threads serve while it is there.
    alive: Option<Arc<()>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Known {
    api: Api,
    /// The hosts' names, and what was last heard of services: it serves while the API is away.
    names: Arc<Mutex<BTreeMap<String, IpAddr>>>,
}

impl Names {
    pub(super) fn start(api: &Api, registry: IpAddr, nodes: &[Host]) -> Result<Self> {
        let known = Known {
            api: api.clone(),
            names: Arc::new(Mutex::new([(REGISTRY.to_owned(), registry)].into())),
        };
        let alive = Arc::new(());
        let mut threads = Vec::new();
        for node in nodes {
            let address = SocketAddr::new(IpAddr::from(NAME_SERVER), PORT);
            let socket = node.netns.inside(|| {
                UdpSocket::bind(address).with_context(|| format!("listening on {address}"))
            })?;
            socket.set_read_timeout(Some(READ_TIMEOUT))?;
            let (known, alive) = (known.clone(), Arc::downgrade(&alive));
            threads.push(thread::spawn(move || known.serve(&socket, &alive)));
        }
        Ok(Self {
            known,
            alive: Some(alive),
            threads,
        })
    }

    pub(super) fn add(&self, name: &str, address: IpAddr) {
        self.known.remember(name, Some(address));
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.alive = None;
        for thread in self.threads.drain(..) {
            // A panic was reported already.
            let _ = thread.join();
        }
    }
}

impl Known {
    fn serve(&self, socket: &UdpSocket, alive: &Weak<()>) {
        let mut message = [0; 1500];
        while alive.strong_count() > 0 {
            let Ok((length, from)) = socket.recv_from(&mut message) else {
                continue;
            };
            let question = message.get(..length).unwrap_or_default();
            if let Some(answer) = self.answer(question) {
                // The client asks again.
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    /// The answer to a message with one question, none to what is no such message.
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = name_in(message)?;
        let address = self.look_up(&name);
        let kind = message.get(end..end + 4)?;
        let (code, record) = match address {
            Some(IpAddr::V4(address)) if kind == ADDRESS => (0, Some(address)),
            // The name is there, but has nothing of that kind.
            Some(_) => (0, None),
            None => (3, None),
        };
        let mut answer = message.get(..2)?.to_vec();
        // An answer, authoritative, recursion available: RFC 1035, 4.1.1.
        answer.extend([
            0x85,
            0x80 | code,
            0,
            1,
            0,
            u8::from(record.is_some()),
            0,
            0,
            0,
            0,
        ]);
        answer.extend(message.get(HEADER..end + 4)?);
        if let Some(address) = record {
            // The name of the question, an address for two seconds.
            answer.extend([0xc0, 0x0c]);
            answer.extend(ADDRESS);
            answer.extend([0, 0, 0, 2, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }

    fn look_up(&self, name: &str) -> Option<IpAddr> {
        if let Some((service, namespace)) = name
            .strip_suffix(ZONE)
            .and_then(|service| service.split_once('.'))
        {
            let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
            if let Ok(service) = self.api.find(&path) {
                self.remember(name, service.as_ref().and_then(cluster_address));
            }
        }
        let names = self.names.lock();
        names.get(name).copied()
    }

    fn remember(&self, name: &str, address: Option<IpAddr>) {
        let mut names = self.names.lock();
        match address {
            Some(address) => names.insert(name.to_owned(), address),
            None => names.remove(name),
        };
    }
}

fn cluster_address(service: &Value) -> Option<IpAddr> {
    let address = service.pointer("/spec/clusterIP")?;
    address.as_str()?.parse().ok()
}

/// The name of a message's first question, in lower case, and where it ends.
fn name_in(message: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}
