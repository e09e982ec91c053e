//! One interface to all ways of counting.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use daemon::telemetry::chain;
use parking_lot::{Mutex, MutexGuard};
use pi_ebpf::{
    Counters,
    names::{Failure, PEERS_CAPACITY},
};
use tracing::{debug, info, warn};

use super::{
    cgroup,
    choice::Choice,
    error::AccountingError,
    kernel::Kernel,
    ledger::Ledger,
    log,
    metrics::{self, PeerMetrics},
    mode::{InForce, Mode, Reason},
    own,
    sockets::SocketTable,
    view::{PeerReport, PeerView},
};

/// How peers are to be counted.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What the operator asks for.
    pub choice: Choice,
    /// The peers' port: connections with it as local or remote port are counted.
    pub port: u16,
    /// The number of peers that are counted; further ones are not.
    pub capacity: u32,
    /// The number of peers that have a name of their own in the metrics.
    pub named: usize,
    /// How long a peer is remembered after its last byte.
    pub idle: Duration,
}

/// Counts what each peer delivers, and what is delivered to it.
#[derive(Debug)]
pub struct Accounting {
    choice: Choice,
    sockets: SocketTable,
    state: Mutex<Counting>,
}

#[derive(Debug)]
struct Counting {
    source: CountedBy,
    mode: Mode,
    ledger: Ledger,
    metrics: PeerMetrics,
    own: BTreeSet<IpAddr>,
    failures: BTreeMap<&'static str, u64>,
}

/// Where the counters come from.
#[derive(Debug)]
enum CountedBy {
    Kernel(Box<Kernel>),
    Sockets(SocketTable),
    Nothing,
}

/// How long a connection to ourselves may take.
const SELF_TEST: Duration = Duration::from_secs(1);
/// Counters that are older than this are read again before they are shown or reported.
const FRESH: Duration = Duration::from_secs(1);
/// The kind of a failed read of the counters, which is not the program's failure.
const UNREAD: &str = "read";

impl Settings {
    /// The defaults for a peer port.
    pub fn new(choice: Choice, port: u16) -> Self {
        Self {
            choice,
            port,
            capacity: PEERS_CAPACITY,
            named: 50,
            idle: Duration::from_hours(1),
        }
    }
}

impl Accounting {
    /// Begins to count. To be called when the peer port is bound but before it is listened on, and
    /// before the first connection to a peer: earlier connections are not counted.
    ///
    /// # Errors
    ///
    /// When eBPF is asked for by name and is not available. [`Choice::Auto`] falls back to
    /// `TCP_INFO`.
    pub fn attach(settings: &Settings, now: Instant) -> Result<Self, AccountingError> {
        let capacity = usize::try_from(settings.capacity).unwrap_or(usize::MAX);
        let sockets = SocketTable::new(capacity, now);
        let (source, mode) = choose(settings, &sockets)?;
        announce(None, &mode);
        let state = Counting {
            source,
            mode,
            ledger: Ledger::new(settings.idle, now),
            metrics: PeerMetrics::new(settings.named),
            own: BTreeSet::new(),
            failures: BTreeMap::new(),
        };
        Ok(Self {
            choice: settings.choice,
            sockets,
            state: Mutex::new(state),
        })
    }

    /// Makes one connection to the agent's own peer port, at `listening`, and sees whether the
    /// kernel's program counts it. To be called once the port is listened on; blocks for a second
    /// at most.
    ///
    /// # Errors
    ///
    /// When eBPF is asked for by name and the connection is not counted. [`Choice::Auto`] makes do
    /// with `TCP_INFO` from then on.
    pub fn check(&self, listening: SocketAddr) -> Result<(), AccountingError> {
        let mut state = self.lock();
        let CountedBy::Kernel(kernel) = &mut state.source else {
            return Ok(());
        };
        let Err(error) = self_test(kernel, listening) else {
            return Ok(());
        };
        if self.choice == Choice::Ebpf {
            return Err(error);
        }
        let mode = fallen_back(&error);
        announce(Some(&state.mode), &mode);
        state.mode = mode;
        self.sockets.activate();
        state.source = CountedBy::Sockets(self.sockets.clone());
        Ok(())
    }

    /// What is in force, and why.
    pub fn mode(&self) -> Mode {
        self.lock().mode.clone()
    }

    /// Where connections with peers are to be registered, in case they have to be counted in user
    /// space.
    pub fn sockets(&self) -> SocketTable {
        self.sockets.clone()
    }

    /// Reads the counters of all peers and enters what passed. To be called from where blocking is
    /// allowed: about two microseconds for each peer.
    ///
    /// `now` is called under the lock: a time taken before waiting for it could lie before the last
    /// pass.
    pub fn pass(&self, now: impl FnOnce() -> Instant) {
        let mut state = self.lock();
        state.pass(now());
    }

    /// A pass, unless the last one is less than a second ago: once per interval, and for those who
    /// are about to show or to report what was counted.
    pub fn refresh(&self, now: impl FnOnce() -> Instant) {
        let mut state = self.lock();
        let now = now();
        if state.ledger.age(now) >= FRESH {
            state.pass(now);
        }
    }

    /// Shows in the metrics in which racks the peers are that have a name of their own there.
    pub fn show_racks(&self, rack: impl Fn(IpAddr) -> Option<String>) {
        self.lock().metrics.show_racks(rack);
    }

    /// The series of all peers as of the last pass, in the text format of Prometheus.
    pub(crate) fn page(&self) -> String {
        self.lock().metrics.page()
    }

    /// How often something could not be counted, by kind, as of the last pass.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.lock().failures.clone()
    }

    /// All peers, as of the last pass.
    pub fn peers(&self) -> Vec<PeerView> {
        self.lock().ledger.view()
    }

    /// What passed since the last report, as of the last pass: of the `most` peers with the most
    /// bytes, the others' sums stay for the next report.
    pub fn take_reports(&self, most: usize, now: impl FnOnce() -> Instant) -> Vec<PeerReport> {
        let mut state = self.lock();
        state.ledger.take_reports(most, now())
    }

    /// What the program logs, where that is switched on, for one reader.
    pub(crate) fn take_log(&self) -> Option<log::Reader> {
        match &mut self.lock().source {
            CountedBy::Kernel(kernel) => kernel.take_log(),
            CountedBy::Sockets(_) | CountedBy::Nothing => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counting> {
        self.state.lock()
    }
}

impl Counting {
    fn pass(&mut self, now: Instant) {
        let start = Instant::now();
        if let Err(error) = self.look(now) {
            metrics::count_unread();
            *self.failures.entry(UNREAD).or_default() += 1;
            debug!(error = %chain(&error), "the counters could not be read");
        }
        metrics::show_pass(self.ledger.len(), start);
    }

    fn look(&mut self, now: Instant) -> Result<(), AccountingError> {
        let failures = self.source.failures()?;
        metrics::show_failures(failures);
        self.failures
            .extend(failures.map(|(kind, count)| (kind.name(), count)));
        let mut counters = self.source.read()?;
        match own::addresses() {
            Ok(own) => {
                // What this node exchanged with itself there is not what passes with who has it next.
                for &left in self.own.difference(&own) {
                    self.source.remove(left);
                    counters.remove(&left);
                }
                self.own = own;
            }
            Err(error) => debug!(%error, "this node's addresses could not be listed"),
        }
        counters.retain(|&peer, _| !own::is_own(peer, &self.own));
        let look = self.ledger.look(&counters, now);
        for moved in &look.moved {
            self.metrics.record(moved);
        }
        for peer in look.forgotten {
            self.metrics.forget(peer);
            self.source.remove(peer);
        }
        Ok(())
    }
}

impl CountedBy {
    fn read(&self) -> Result<BTreeMap<IpAddr, Counters>, AccountingError> {
        match self {
            Self::Kernel(kernel) => kernel.read(),
            Self::Sockets(sockets) => Ok(sockets.read()),
            Self::Nothing => Ok(BTreeMap::new()),
        }
    }

    fn failures(&self) -> Result<[(Failure, u64); 4], AccountingError> {
        let full = match self {
            Self::Kernel(kernel) => return kernel.failures(),
            Self::Sockets(sockets) => sockets.full(),
            Self::Nothing => 0,
        };
        let count = |kind| if kind == Failure::PeersFull { full } else { 0 };
        Ok(Failure::ALL.map(|kind| (kind, count(kind))))
    }

    fn remove(&mut self, peer: IpAddr) {
        match self {
            Self::Kernel(kernel) => kernel.remove(peer),
            Self::Sockets(sockets) => sockets.remove(peer),
            Self::Nothing => {}
        }
    }
}

fn choose(
    settings: &Settings,
    sockets: &SocketTable,
) -> Result<(CountedBy, Mode), AccountingError> {
    let asked = |in_force| {
        let detail = "the settings ask for it".to_owned();
        Mode {
            in_force,
            reason: Reason::Asked,
            detail,
        }
    };
    let in_sockets = |mode| {
        sockets.activate();
        Ok((CountedBy::Sockets(sockets.clone()), mode))
    };
    match settings.choice {
        Choice::Off => return Ok((CountedBy::Nothing, asked(InForce::Off))),
        Choice::TcpInfo => return in_sockets(asked(InForce::TcpInfo)),
        Choice::Auto | Choice::Ebpf => {}
    }
    match attach(settings, sockets) {
        Ok((kernel, mode)) => Ok((CountedBy::Kernel(Box::new(kernel)), mode)),
        Err(error) if settings.choice == Choice::Ebpf => Err(error),
        Err(error) => in_sockets(fallen_back(&error)),
    }
}

fn attach(settings: &Settings, sockets: &SocketTable) -> Result<(Kernel, Mode), AccountingError> {
    let group = cgroup::own().map_err(AccountingError::Cgroup)?;
    let mut kernel = Kernel::attach(&group, settings.port, settings.capacity)?;
    sockets.promise_to(kernel.take_promises()?);
    let reason = if settings.choice == Choice::Ebpf {
        Reason::Asked
    } else {
        Reason::Best
    };
    let detail = format!("attached to {}, port {}", group.display(), settings.port);
    Ok((
        kernel,
        Mode {
            in_force: InForce::Ebpf,
            reason,
            detail,
        },
    ))
}

fn fallen_back(error: &AccountingError) -> Mode {
    debug!(error = %chain(error), "the kernel's accounting is not available");
    // The verifier's log can be long; the debug log has all of it.
    let mut detail: String = chain(error).to_string();
    if let Some((end, _)) = detail.char_indices().nth(400) {
        detail.truncate(end);
    }
    Mode {
        in_force: InForce::TcpInfo,
        reason: error.reason(),
        detail,
    }
}

fn announce(before: Option<&Mode>, now: &Mode) {
    metrics::show_mode(before, now);
    let (mode, reason, detail) = (now.in_force.name(), now.reason.name(), &now.detail);
    match now.reason {
        Reason::Asked | Reason::Best => info!(mode, reason, detail, "counting peers"),
        _ => warn!(
            mode,
            reason, detail, "counting peers in user space, without the kernel"
        ),
    }
}

/// Connects to the agent itself: established on this side is counted before `connect` returns.
fn self_test(kernel: &mut Kernel, listening: SocketAddr) -> Result<(), AccountingError> {
    let mut address = listening;
    if address.ip().is_unspecified() {
        address.set_ip(match listening {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let before = kernel.opened(address.ip())?;
    TcpStream::connect_timeout(&address, SELF_TEST)
        .map_err(|source| AccountingError::Connect { address, source })?;
    let refused = |&(kind, count): &(Failure, u64)| kind == Failure::NoCallbacks && count != 0;
    if kernel.failures()?.iter().any(refused) {
        return Err(AccountingError::Callbacks);
    }
    if kernel.opened(address.ip())? == before {
        return Err(AccountingError::NotCounted { address });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
