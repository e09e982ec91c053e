//! The first bytes of a connection on a port that TLS and plain share, cut anywhere, to an agent and to a server,
//! and as the answer to an agent that dials. Who has no certificate is never taken for somebody, and what is taken
//! as plain has lost no byte.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::LazyLock,
    time::Duration,
};

use clap::Parser as _;
use daemon::{
    clock::Clock,
    tls::{AcceptError, AgentError, Agents, Files, Mode, Role, Shown, Tls, Uncounted},
};
use parking_lot::Mutex;
use piccolo_server::{
    config::{Cli, Command, PkiCommand},
    pki,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::{
    input::Input,
    stand::{caller, connect, parts, received, runtime, send},
};

/// What a connection begins with that is not plain.
const HANDSHAKE_RECORD: u8 = 0x16;
/// Records that TLS may answer with: an alert, or a part of the handshake.
const RECORDS: [u8; 3] = [0x14, 0x15, HANDSHAKE_RECORD];
const DEADLINE: Duration = Duration::from_secs(10);
const ROLES: &[Role] = &[Role::Agent, Role::Server];

static STAND: LazyLock<Mutex<Stand>> = LazyLock::new(|| Mutex::new(Stand::start()));

struct Stand {
    runtime: Runtime,
    listener: TcpListener,
    permissive: Party,
    required: Party,
    _pki: TempDir,
}

/// One and the same certificate, as an agent uses it and as a server does.
struct Party {
    agents: Agents,
    server: Tls,
}

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.one(&[Mode::Permissive, Mode::Required]);
    let place = input.byte() % 3;
    let cuts = input.take(4);
    let parts = parts(input.rest(), cuts);
    let stand = STAND.lock();
    let party = match mode {
        Mode::Required => &stand.required,
        Mode::Permissive | Mode::Off => &stand.permissive,
    };
    stand.runtime.block_on(async {
        match place {
            0 => agent_accepts(&stand, party, mode, &parts).await,
            1 => server_accepts(&stand, party, mode, &parts).await,
            _ => agent_dials(&stand, party, &parts).await,
        }
    });
}

async fn agent_accepts(stand: &Stand, party: &Party, mode: Mode, parts: &[&[u8]]) {
    let said = parts.concat();
    let (tcp, remote, caller) = stand.call(parts).await;
    let accepting = async {
        let socket = (party.agents)
            .accept(tcp, remote, DEADLINE, Uncounted)
            .await?;
        Ok(all(socket.as_plain().expect("a plain connection")).await)
    };
    let (accepted, replied) = tokio::join!(accepting, caller);
    match (said.first(), accepted) {
        (None, Err(AgentError::Closed)) => assert!(replied.is_empty()),
        (Some(&HANDSHAKE_RECORD), Err(AgentError::Handshake(_))) => is_tls(&replied),
        (Some(first), Err(AgentError::Plain)) => {
            assert_ne!(*first, HANDSHAKE_RECORD);
            assert_eq!(mode, Mode::Required);
        }
        (Some(first), Ok(read)) => {
            assert_ne!(*first, HANDSHAKE_RECORD);
            assert_eq!((read, mode), (said, Mode::Permissive));
        }
        (first, accepted) => panic!("{first:?}: {accepted:?}"),
    }
}

async fn server_accepts(stand: &Stand, party: &Party, mode: Mode, parts: &[&[u8]]) {
    let said = parts.concat();
    let (tcp, remote, caller) = stand.call(parts).await;
    let accepting = async {
        let (mut stream, shown) = party.server.accept(tcp, remote, |tcp| tcp).await?;
        assert_eq!(shown, Shown::Plain);
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        Ok(read)
    };
    let (accepted, replied) = tokio::join!(accepting, caller);
    match (said.first(), accepted) {
        (None, Err(AcceptError::Closed)) => assert!(replied.is_empty()),
        (Some(&HANDSHAKE_RECORD), Err(AcceptError::Handshake(_))) => is_tls(&replied),
        (Some(first), Err(AcceptError::Plain)) => {
            assert_ne!(*first, HANDSHAKE_RECORD);
            assert_eq!(mode, Mode::Required);
        }
        (Some(first), Ok(read)) => {
            assert_ne!(*first, HANDSHAKE_RECORD);
            assert_eq!((read, mode), (said, Mode::Permissive));
        }
        (first, accepted) => panic!("{first:?}: {accepted:?}"),
    }
}

async fn agent_dials(stand: &Stand, party: &Party, parts: &[&[u8]]) {
    let to = stand.listener.local_addr().expect("a port");
    let dialling = async {
        let tcp = connect(caller(), to).await;
        (party.agents).dial(tcp, to.ip(), DEADLINE, Uncounted).await
    };
    let answering = async {
        let (mut tcp, _) = stand.listener.accept().await.expect("a connection");
        send(&mut tcp, parts).await;
        let _ = tcp.shutdown().await;
        received(&mut tcp).await
    };
    let (dialled, hello) = tokio::join!(dialling, answering);
    let error = dialled.expect_err("the other side has no certificate");
    assert!(
        matches!(error, AgentError::NoTls(_) | AgentError::Handshake(_)),
        "{error:?}"
    );
    is_tls(&hello);
}

fn is_tls(said: &[u8]) {
    assert!(
        said.first().is_none_or(|first| RECORDS.contains(first)),
        "{said:?}"
    );
}

/// All that comes on it until the other side ends.
async fn all(tcp: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        tcp.readable().await.expect("a connection");
        match tcp.try_read(&mut room) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&room[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

impl Stand {
    fn start() -> Self {
        let pki = tempfile::tempdir().expect("a directory");
        let at = |name: &str| pki.path().join(name);
        let directory = at("pki").display().to_string();
        let out = at("out").display().to_string();
        run(&["init", "--directory", &directory]);
        run(&[
            "issue",
            "--directory",
            &directory,
            "--role",
            "agent",
            "--group",
            "g",
            "--node",
            "n",
            "--address",
            "127.0.0.1",
            "--out",
            &out,
        ]);
        let files = || Files {
            certificate: at("out/tls.crt"),
            key: at("out/tls.key"),
            authorities: at("out/ca.crt"),
            seen: None,
        };
        let party = |mode| {
            let server = Tls::load(mode, Some(files()), ROLES, Clock::system()).expect("its files");
            let agents = Agents::new(&server, "g");
            Party { agents, server }
        };
        let runtime = runtime();
        let listening = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self {
            listener: runtime.block_on(listening).expect("a port"),
            runtime,
            permissive: party(Mode::Permissive),
            required: party(Mode::Required),
            _pki: pki,
        }
    }

    /// A connection on which somebody says this and ends; what is replied to it.
    async fn call(
        &self,
        parts: &[&[u8]],
    ) -> (TcpStream, SocketAddr, impl Future<Output = Vec<u8>>) {
        let to = self.listener.local_addr().expect("a port");
        let from = caller();
        let (mut stream, accepted) = tokio::join!(connect(from, to), self.listener.accept());
        let (tcp, remote) = accepted.expect("a connection");
        assert_eq!(remote.ip(), IpAddr::V4(from));
        let calling = async move {
            send(&mut stream, parts).await;
            let _ = stream.shutdown().await;
            received(&mut stream).await
        };
        (tcp, remote, calling)
    }
}

fn run(args: &[&str]) {
    let cli = Cli::try_parse_from(["piccolo-server", "pki"].iter().chain(args)).expect("a command");
    let Some(Command::Pki(PkiCommand::Files(command))) = cli.command else {
        panic!("it is one of pki");
    };
    pki::run(&command, &Clock::system()).expect("it is done");
}
