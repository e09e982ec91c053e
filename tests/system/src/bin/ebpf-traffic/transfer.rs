//! Answers of one size, with the time each took as the application saw it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use pi_agent::ebpf::{Accounting, Registered, SocketTable};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::{exchange::send, outcome, place::Place};

/// Answers of one size, timed.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    #[command(flatten)]
    place: Place,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Answers on each connection.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Bytes of each answer.
    #[arg(long)]
    bytes: u64,
    /// Milliseconds between two answers.
    #[arg(long, default_value_t = 0)]
    idle: u64,
    /// Does not say how long each answer is before it passes.
    #[arg(long)]
    unannounced: bool,
}

/// A request is the length of its answer.
const REQUEST: u64 = 8;

/// From the request to the last byte of the answer.
type Span = (Instant, Instant);

impl Transfer {
    pub(crate) fn run(&self, accounting: &Accounting) -> Result<()> {
        let listener = self.place.listen()?;
        let sockets = accounting.sockets();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let machine = machine_seconds()?;
        let spans = thread::scope(|scope| {
            scope.spawn(|| self.serve(&listener, &sockets));
            let fetch = |_| scope.spawn(|| self.fetch(&sockets));
            let threads: Vec<_> = (0..self.connections).map(fetch).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<Span>>>| {
                thread
                    .join()
                    .map_err(|_panic| anyhow!("a client panicked"))?
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        let (wall, cpu) = (start.elapsed(), cpu_seconds() - cpu);
        let machine = machine_seconds()? - machine;
        let spans: Vec<_> = spans.into_iter().flatten().collect();
        let answers = u64::try_from(spans.len())?;
        let connections = u64::try_from(self.connections)?;
        outcome::settle(accounting, |peers| {
            peers.iter().all(|peer| peer.closed == connections)
        });
        let truth = json!({
            "connections": connections,
            "requested": answers * REQUEST,
            "answered": answers * self.bytes,
            "busy_seconds": union(spans).as_secs_f64(),
            "wall_seconds": wall.as_secs_f64(),
            "cpu_seconds": cpu,
            "machine_seconds": machine,
            "program": outcome::program()?,
        });
        outcome::print(accounting, &truth)
    }

    fn serve(&self, listener: &TcpListener, sockets: &SocketTable) -> Result<()> {
        thread::scope(|scope| {
            for _ in 0..self.connections {
                let (stream, peer) = listener.accept().context("accepting")?;
                let registered = sockets.register(peer, &stream);
                scope.spawn(move || self.answer(&stream, &registered));
            }
            Ok(())
        })
    }

    fn fetch(&self, sockets: &SocketTable) -> Result<Vec<Span>> {
        let mut stream = self.place.connect()?;
        let registered = sockets.register(stream.peer_addr()?, &stream);
        let mut buffer = vec![0; 1 << 18];
        let mut spans = Vec::new();
        for round in 0..self.rounds {
            if round > 0 {
                thread::sleep(Duration::from_millis(self.idle));
            }
            let start = Instant::now();
            stream
                .write_all(&self.bytes.to_le_bytes())
                .context("asking")?;
            registered.sent(REQUEST);
            if !self.unannounced {
                registered.will_receive(stream.as_fd(), self.bytes);
            }
            let mut left = self.bytes;
            while left > 0 {
                let received = stream.read(&mut buffer).context("receiving")?;
                anyhow::ensure!(received != 0, "the answer ended early");
                let received = u64::try_from(received)?;
                registered.received(received);
                left = left.saturating_sub(received);
            }
            spans.push((start, Instant::now()));
        }
        Ok(spans)
    }

    /// Answers each request of a connection, up to its end.
    fn answer(&self, stream: &TcpStream, registered: &Registered) {
        let mut request = [0; 8];
        let mut reader = stream;
        while reader.read_exact(&mut request).is_ok() {
            registered.received(REQUEST);
            let bytes = u64::from_le_bytes(request);
            if !self.unannounced {
                registered.will_send(stream.as_fd(), bytes);
            }
            if send(stream, bytes).is_err() {
                return;
            }
            registered.sent(bytes);
        }
    }
}

fn union(mut spans: Vec<Span>) -> Duration {
    spans.sort();
    let mut sum = Duration::ZERO;
    let mut end = None;
    for (from, to) in spans {
        let from = end.map_or(from, |end| from.max(end));
        sum += to.saturating_duration_since(from);
        end = Some(to.max(from));
    }
    sum
}

/// The processor time of this process, the kernel's on its behalf included.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default().as_secs_f64()
}

/// The processor time that the whole machine has spent on anything: proc_stat(5). The kernel's own
/// threads, which take packets over from the process when they are many, are in it.
fn machine_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let fields = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "));
    let fields = fields.context("no line of all processors in /proc/stat")?;
    let ticks: Vec<u32> = fields
        .split_whitespace()
        .map(|field| field.parse().context("a number of ticks"))
        .collect::<Result<_>>()?;
    // user nice system (idle iowait) irq softirq; what a hypervisor took is not ours.
    let busy = ticks.iter().take(3).chain(ticks.iter().skip(5).take(2));
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(busy.copied().map(f64::from).sum::<f64>() / f64::from(per_second))
}
