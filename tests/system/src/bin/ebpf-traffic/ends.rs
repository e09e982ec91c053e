//! Connections whose bytes are known, and that end in one of the ways there are.

use std::{
    io::{BufRead, BufReader},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd as _, BorrowedFd},
    process::{Command, Stdio},
    sync::Barrier,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use pi_agent::ebpf::{Accounting, Registered, SocketTable};
use rustix::net::sockopt::set_socket_linger;
use serde_json::json;

use crate::{
    exchange::{receive, receive_all, send},
    outcome::{self, say},
    place::Place,
};

/// Connections that end in one way.
#[derive(Debug, Args)]
pub(crate) struct Ends {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    how: How,
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Bytes of each request.
    #[arg(long, default_value_t = 333)]
    request: u64,
    /// Bytes of each answer.
    #[arg(long, default_value_t = 70_000)]
    answer: u64,
    /// Bytes that each answer was to have, as both ends are told beforehand.
    #[arg(long, default_value_t = 0)]
    promised: u64,
}

/// The client of `ends --how kill` and `ends --how kill-unread`.
#[derive(Debug, Args)]
pub(crate) struct Doomed {
    #[command(flatten)]
    ends: Ends,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// The server, right after its answer.
    Server,
    /// The client, after the answer.
    Client,
    /// The client shuts its direction down right after the request.
    HalfClose,
    /// Both at once, while the link is down, so that their FINs cross.
    Simultaneous,
    /// The client, by a reset.
    Reset,
    /// The client's process is killed.
    Kill,
    /// It is killed before it has read anything of the answers, so that the kernel resets.
    KillUnread,
    /// The server's answer and FIN in one segment each, and the client's request and FIN as well.
    Tiny,
}

/// Longer than any acknowledgement is delayed.
const ACKNOWLEDGED: Duration = Duration::from_millis(300);

impl Ends {
    pub(crate) fn run(&self, accounting: &Accounting) -> Result<()> {
        match self.how {
            How::Kill | How::KillUnread => self.kill(&accounting.sockets())?,
            How::Tiny => self.tiny()?,
            _ => {
                let pairs = self.place.pairs(self.connections)?;
                let sockets = accounting.sockets();
                for (client, server) in &pairs {
                    self.promise(&sockets, server, Registered::will_send)?;
                    self.promise(&sockets, client, Registered::will_receive)?;
                }
                self.end(pairs)?;
            }
        }
        let each = u64::try_from(self.connections)?;
        outcome::settle(accounting, |peers| {
            peers.len() == 2 && peers.iter().all(|peer| peer.closed == each)
        });
        let truth = json!({
            "connections": each,
            "requested": each * self.request,
            "answered": each * self.answer,
        });
        outcome::print(accounting, &truth)
    }

    fn promise(
        &self,
        sockets: &SocketTable,
        end: &TcpStream,
        will: fn(&Registered, BorrowedFd<'_>, u64),
    ) -> Result<()> {
        let registered = sockets.register(end.peer_addr()?, end);
        will(&registered, end.as_fd(), self.promised);
        Ok(())
    }

    fn end(&self, pairs: Vec<(TcpStream, TcpStream)>) -> Result<()> {
        match self.how {
            How::Server => each(pairs, |client, server| {
                both(
                    || {
                        receive(&server, self.request)?;
                        send(&server, self.answer)?;
                        server.shutdown(Shutdown::Both).context("closing")
                    },
                    || {
                        send(&client, self.request)?;
                        let received = receive_all(&client)?;
                        ensure!(received == self.answer, "{received} bytes of answer");
                        Ok(())
                    },
                )
            }),
            How::HalfClose => each(pairs, |client, server| {
                both(
                    || {
                        let received = receive_all(&server)?;
                        ensure!(received == self.request, "{received} bytes of request");
                        send(&server, self.answer)
                    },
                    || {
                        send(&client, self.request)?;
                        client.shutdown(Shutdown::Write).context("closing")?;
                        receive(&client, self.answer)
                    },
                )
            }),
            How::Client => each(pairs, |client, server| {
                self.exchange(&client, &server)?;
                drop(client);
                let _ = receive_all(&server)?;
                Ok(())
            }),
            How::Simultaneous => self.cross(&pairs),
            How::Reset => self.reset(pairs),
            How::Kill | How::KillUnread | How::Tiny => Ok(()),
        }
    }

    fn exchange(&self, client: &TcpStream, server: &TcpStream) -> Result<()> {
        both(
            || {
                receive(server, self.request)?;
                send(server, self.answer)
            },
            || {
                send(client, self.request)?;
                receive(client, self.answer)
            },
        )
    }

    /// With the link down neither FIN arrives, so that each finds the other side waiting for the
    /// acknowledgement of its own.
    fn cross(&self, pairs: &[(TcpStream, TcpStream)]) -> Result<()> {
        for (client, server) in pairs {
            self.exchange(client, server)?;
        }
        thread::sleep(ACKNOWLEDGED);
        self.link("down")?;
        for (client, server) in pairs {
            client.shutdown(Shutdown::Both).context("closing")?;
            server.shutdown(Shutdown::Both).context("closing")?;
        }
        self.link("up")
    }

    fn link(&self, state: &str) -> Result<()> {
        self.place.at_server(|| {
            let status = Command::new("ip")
                .args(["link", "set", "eth0", state])
                .status()?;
            ensure!(status.success(), "the link does not go {state}");
            Ok(())
        })
    }

    fn reset(&self, pairs: Vec<(TcpStream, TcpStream)>) -> Result<()> {
        for (client, server) in &pairs {
            self.exchange(client, server)?;
        }
        // A reset acknowledges nothing.
        thread::sleep(ACKNOWLEDGED);
        each(pairs, |client, server| {
            set_socket_linger(&client, Some(Duration::ZERO))?;
            drop(client);
            ensure!(
                receive_all(&server).is_err(),
                "the connection ended without a reset"
            );
            Ok(())
        })
    }

    /// Request and FIN, answer and FIN: each in one segment where the kernel can.
    fn tiny(&self) -> Result<()> {
        let listener = self.place.listen()?;
        let request = usize::try_from(self.request)?;
        let answer = usize::try_from(self.answer)?;
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                for _ in 0..self.connections {
                    let (server, _) = listener.accept()?;
                    receive_all(&server)?;
                    corked(&server, answer)?;
                }
                Ok::<_, anyhow::Error>(())
            });
            for _ in 0..self.connections {
                let client = self.place.connect()?;
                corked(&client, request)?;
                receive_all(&client)?;
            }
            server
                .join()
                .map_err(|_panic| anyhow::anyhow!("the server panicked"))?
        })
    }

    /// A child opens the connections, and dies with them open.
    fn kill(&self, sockets: &SocketTable) -> Result<()> {
        let listener = self.place.listen()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("doomed")
            .args(self.place.arguments())
            .args([
                "--how",
                self.how.to_possible_value().context("a name")?.get_name(),
            ])
            .arg(format!("--connections={}", self.connections))
            .arg(format!("--request={}", self.request))
            .arg(format!("--answer={}", self.answer))
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the client")?;
        let mut servers = Vec::new();
        for _ in 0..self.connections {
            let (server, _) = listener.accept()?;
            self.promise(sockets, &server, Registered::will_send)?;
            receive(&server, self.request)?;
            send(&server, self.answer)?;
            servers.push(server);
        }
        let mut done = String::new();
        let output = child.stdout.take().context("the client's output")?;
        BufReader::new(output).read_line(&mut done)?;
        thread::sleep(ACKNOWLEDGED);
        child.kill().context("killing the client")?;
        let status = child.wait().context("waiting for the client")?;
        ensure!(status.code().is_none(), "the client ended by itself");
        for server in &servers {
            let ended = receive_all(server);
            ensure!(
                ended.is_err() == (self.how == How::KillUnread),
                "the connection ended by {ended:?}"
            );
        }
        Ok(())
    }
}

impl Doomed {
    pub(crate) fn run(&self) -> Result<()> {
        let mut clients = Vec::new();
        for _ in 0..self.ends.connections {
            let client = self.ends.place.connect()?;
            send(&client, self.ends.request)?;
            if self.ends.how != How::KillUnread {
                receive(&client, self.ends.answer)?;
            }
            clients.push(client);
        }
        say(&json!("done"))?;
        // Once is not enough: a thread that has ended may have left a token to its parent.
        loop {
            thread::park();
        }
    }
}

/// Sends and shuts down, with the FIN in the last segment of the data.
fn corked(stream: &TcpStream, bytes: usize) -> Result<()> {
    rustix::net::sockopt::set_tcp_cork(stream, true)?;
    send(stream, u64::try_from(bytes)?)?;
    stream.shutdown(Shutdown::Write).context("closing")
}

/// Runs `work` for all connections, all at the same time.
fn each(
    pairs: Vec<(TcpStream, TcpStream)>,
    work: impl Fn(TcpStream, TcpStream) -> Result<()> + Sync,
) -> Result<()> {
    let start = Barrier::new(pairs.len());
    thread::scope(|scope| {
        let (start, work) = (&start, &work);
        let spawn = |(client, server)| {
            scope.spawn(move || {
                start.wait();
                work(client, server)
            })
        };
        let threads: Vec<_> = pairs.into_iter().map(spawn).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_panic| anyhow::anyhow!("a connection panicked"))?
        })
    })
}

/// Runs both ends of one connection.
fn both(
    server: impl FnOnce() -> Result<()> + Send,
    client: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let server = scope.spawn(server);
        client()?;
        server
            .join()
            .map_err(|_panic| anyhow::anyhow!("the server panicked"))?
    })
}
