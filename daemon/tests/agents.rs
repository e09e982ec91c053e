//! Agents that show each other who they are, and what else may come on their connections.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use daemon::{
    clock::Clock,
    scope::Scope,
    tls::{AgentError, Agents, Files, Mode, Role, Socket, Tls, Uncounted, Way, is_expiry},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};
use tempfile::TempDir;
use testbed::{Authority, Certificate, Records, Subject};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NODE: &str = "spiffe://c/piccolo/agent/g/n";
const WEEK: Duration = Duration::from_hours(7 * 24);
const SOON: Duration = Duration::from_secs(5);

struct Group {
    _directory: TempDir,
    authority: Authority,
}

impl Group {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::within(directory.path()).expect("an authority");
        Self {
            _directory: directory,
            authority,
        }
    }

    fn certificate(&self, file: &str, lasts: Duration) -> Certificate {
        let subject = Subject {
            file,
            host: None,
            uri: Some(NODE),
            addresses: &[HERE],
            lasts,
        };
        self.authority.issue(&subject).expect("a certificate")
    }

    fn tls(&self, mode: Mode, file: &str, lasts: Duration) -> Tls {
        let Certificate { certificate, key } = self.certificate(file, lasts);
        let files = Files {
            certificate,
            key,
            authorities: self.authority.certificate(),
            seen: None,
        };
        Tls::load(mode, Some(files), &[Role::Agent], Clock::system()).expect("it can be used")
    }

    fn node(&self, mode: Mode, lasts: Duration) -> Agents {
        Agents::new(&self.tls(mode, "node", lasts), "g")
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((HERE, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

async fn accept(agents: &Agents, listener: &TcpListener) -> Result<Socket, AgentError> {
    let (tcp, remote) = listener.accept().await.expect("a connection");
    agents.accept(tcp, remote, SOON, Uncounted).await
}

async fn dial(agents: &Agents, address: SocketAddr) -> Result<Socket, AgentError> {
    let tcp = TcpStream::connect(address).await.expect("a connection");
    agents.dial(tcp, HERE, SOON, Uncounted).await
}

/// Both ends of a connection, of which the second one's certificate lasts that long.
async fn pair(group: &Group, lasts: Duration) -> (Socket, Socket) {
    let one = group.node(Mode::Required, WEEK);
    let other = group.node(Mode::Required, lasts);
    let (listener, address) = listener().await;
    let (one, other) = tokio::join!(accept(&one, &listener), dial(&other, address));
    (one.expect("a handshake"), other.expect("a handshake"))
}

/// What comes within that time, and how often the socket was said to be readable.
async fn read_for(socket: &Socket, time: Duration) -> (Vec<u8>, usize) {
    let (mut came, mut times) = (Vec::new(), 0);
    let reading = async {
        while times < 50 {
            socket.readable().await.expect("a socket");
            times += 1;
            let mut room = [0; 4096];
            match socket.try_read(&mut room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => came.extend_from_slice(&room[..read.expect("a session")]),
            }
        }
    };
    let _ = timeout(time, reading).await;
    (came, times)
}

async fn next(socket: &Socket) -> io::Result<usize> {
    loop {
        socket.readable().await?;
        match socket.try_read(&mut [0; 4 << 10]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

#[tokio::test]
async fn a_part_of_a_message_is_waited_for_and_not_looked_at_again_and_again() {
    let group = Group::new();
    let node = group.node(Mode::Required, WEEK);
    let own = group.certificate("other", WEEK);
    let (listener, address) = listener().await;
    let authorities = group.authority.certificate();
    let (socket, records) = tokio::join!(
        accept(&node, &listener),
        Records::connect(address, &own, &authorities)
    );
    let (socket, mut records) = (socket.unwrap(), records.unwrap());
    records.send_data(b"before").await.unwrap();
    // An update of keys that asks for none in return: first a byte of it, then the others.
    let (first, others) = ([0x18], [0, 0, 1, 0]);
    records.send_handshake(&first).await.unwrap();
    let (came, times) = read_for(&socket, Duration::from_millis(300)).await;
    assert_eq!(came, b"before");
    assert!(times < 10, "{times} looks without a byte");
    assert!(socket.held() > 0);
    records.send_handshake(&others).await.unwrap();
    let (came, times) = read_for(&socket, Duration::from_millis(300)).await;
    assert_eq!((&came[..], socket.held()), (&[][..], 0));
    assert!(times < 10, "{times} looks without a byte");
    assert_eq!(socket.try_write(b"after").unwrap(), 5);
}

#[tokio::test]
async fn keys_are_updated_within_a_body() {
    let group = Group::new();
    let own = group.certificate("other", WEEK);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&own.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&own.key).unwrap(),
        )
        .unwrap();
    let (listener, address) = listener().await;
    let node = group.node(Mode::Required, WEEK);
    let half = vec![7; 1 << 20];
    let sending = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config))
            .accept(tcp)
            .await
            .unwrap();
        stream.write_all(&half).await.unwrap();
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        stream.write_all(&half).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"thanks");
        stream.shutdown().await.unwrap();
    };
    let receiving = async {
        let socket = dial(&node, address).await.unwrap();
        let mut came = 0;
        while came < 2 << 20 {
            came += next(&socket).await.unwrap();
        }
        assert_eq!(socket.try_write(b"thanks").unwrap(), 6);
        assert_eq!(next(&socket).await.unwrap(), 0);
    };
    timeout(SOON * 2, async { tokio::join!(sending, receiving) })
        .await
        .unwrap();
}

#[tokio::test]
async fn why_a_handshake_failed_is_told_though_nobody_takes_the_alert() {
    let group = Group::new();
    let node = group.node(Mode::Required, WEEK);
    let (listener, address) = listener().await;
    let answering = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let hello = tcp.read(&mut [0; 4096]).await.unwrap();
        assert!(hello > 0);
        // In one go, so that the end is there when the answer is read.
        rustix::net::sockopt::set_socket_linger(&tcp, Some(Duration::ZERO)).unwrap();
        tcp.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        drop(tcp);
    };
    let (dialled, ()) = tokio::join!(dial(&node, address), answering);
    let error = dialled.unwrap_err();
    assert!(error.is_of_identity(), "{error:?}");
}

#[tokio::test]
async fn who_says_nothing_is_taken_for_plain_no_longer_than_it_may_be_busy() {
    let group = Group::new();
    for answer in [
        None,
        Some(&b""[..]),
        Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ] {
        let node = group.node(Mode::Permissive, WEEK);
        let (listener, address) = listener().await;
        let answering = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let hello = tcp.read(&mut [0; 4096]).await.unwrap();
            assert!(hello > 0);
            match answer {
                None => tokio::time::sleep(Duration::from_secs(2)).await,
                Some(answer) => tcp.write_all(answer).await.unwrap(),
            }
        };
        let (dialled, ()) = tokio::join!(dial(&node, address), answering);
        let error = dialled.unwrap_err();
        assert!(matches!(error, AgentError::NoTls(_)), "{error:?}");
        assert_eq!(node.way(HERE), Way::Plain);
        let is_sure = answer.is_some_and(|answer| !answer.is_empty());
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(6)).await;
        let later = if is_sure { Way::Plain } else { Way::Either };
        assert_eq!(node.way(HERE), later, "{answer:?}");
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(node.way(HERE), Way::Either);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_end_just_when_a_certificate_expires_is_its_expiry() {
    let group = Group::new();
    for (lasts, is_by_it) in [(SOON, true), (WEEK, false)] {
        let (one, other) = pair(&group, lasts).await;
        drop(one);
        let error = next(&other).await.unwrap_err();
        assert_eq!(is_expiry(&error), is_by_it, "{error:?}");
        let (one, other) = pair(&group, lasts).await;
        one.shut().unwrap();
        let read = next(&other).await;
        assert_eq!(read.is_err_and(|error| is_expiry(&error)), is_by_it);
    }
}

#[tokio::test]
async fn a_connection_lasts_as_long_as_the_certificate_that_was_shown() {
    let group = Group::new();
    let old = Duration::from_secs(9);
    let tls = group.tls(Mode::Required, "old", old);
    let expired = tokio::time::Instant::now() + old;
    let (scope, _deaths) = Scope::new();
    scope.service("certificates", tls.clone().follow(scope.clone()));
    let node = Agents::new(&tls, "g");
    let other = group.node(Mode::Required, WEEK);
    group.certificate("old", WEEK);
    let (listener, address) = listener().await;
    let dialling = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let within = Duration::from_secs(20);
        node.dial(tcp, HERE, within, Uncounted).await.unwrap()
    };
    let accepting = async {
        // Until the new one is in force.
        tokio::time::sleep(Duration::from_secs(7)).await;
        accept(&other, &listener).await.unwrap()
    };
    let (dialled, accepted) = tokio::join!(dialling, accepting);
    assert!(dialled.is_current() && accepted.is_current());
    tokio::time::sleep_until(expired + Duration::from_millis(200)).await;
    assert!(!accepted.is_current());
    assert!(!dialled.is_current());
}
