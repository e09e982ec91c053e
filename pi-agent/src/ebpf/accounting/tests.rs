//! The interface, where no privilege is needed.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn attach(choice: Choice) -> Accounting {
    Accounting::attach(&Settings::new(choice, 7787), Instant::now()).expect("accounting")
}

#[test]
fn off_counts_nothing_and_says_so() {
    let accounting = attach(Choice::Off);
    let mode = accounting.mode();
    assert_eq!((mode.in_force, mode.reason), (InForce::Off, Reason::Asked));
    accounting.pass(Instant::now);
    assert!(accounting.peers().is_empty());
}

#[test]
fn user_space_counts_what_is_registered() {
    let accounting = attach(Choice::TcpInfo);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    accounting.check(address).expect("nothing to check");
    let mut client = TcpStream::connect(address).expect("a connection");
    let (mut server, _) = listener.accept().expect("the connection");
    let registered = accounting.sockets().register((PEER, 7787).into(), &client);
    server.write_all(b"hello").expect("sent");
    client.read_exact(&mut [0; 5]).expect("received");
    registered.received(5);

    accounting.pass(Instant::now);
    let peers = accounting.peers();
    assert_eq!(peers.len(), 1);
    assert_eq!((peers[0].address, peers[0].received.bytes), (PEER, 5));
    assert_eq!(accounting.take_reports(10, Instant::now).len(), 1);
    assert!(accounting.take_reports(10, Instant::now).is_empty());
}

#[test]
fn this_node_is_no_peer() {
    let accounting = attach(Choice::TcpInfo);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let client = TcpStream::connect(address).expect("a connection");
    let _registered = accounting.sockets().register(address, &client);
    accounting.pass(Instant::now);
    assert!(accounting.peers().is_empty());
}

/// A node takes another address, and another node has the one that it left.
#[test]
fn what_passed_with_itself_is_not_the_next_nodes() {
    let accounting = attach(Choice::TcpInfo);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let pass = |bytes: &[u8]| {
        let client = TcpStream::connect(address).expect("a connection");
        let (server, _) = listener.accept().expect("the connection");
        let registered = accounting.sockets().register((PEER, 7787).into(), &client);
        (&server).write_all(bytes).expect("sent");
        (&client)
            .read_exact(&mut vec![0; bytes.len()])
            .expect("received");
        registered.received(u64::try_from(bytes.len()).expect("few"));
        drop(registered);
        accounting.pass(Instant::now);
        let peers = accounting.peers();
        peers.iter().map(|p| p.received.bytes).collect::<Vec<_>>()
    };
    // As of the pass before it was this node's own.
    accounting.lock().own.insert(PEER);
    assert!(pass(b"hello").is_empty());
    assert_eq!(pass(b"goodbye"), [7]);
}

#[test]
fn who_waited_for_anothers_pass_reads_the_time_afterwards() {
    let accounting = attach(Choice::TcpInfo);
    let readings = AtomicU32::new(0);
    let clock = || {
        readings.fetch_add(1, Ordering::Relaxed);
        // Only the holder of the lock may read the clock.
        assert!(accounting.state.try_lock().is_none());
        Instant::now()
    };
    accounting.pass(clock);
    accounting.refresh(clock);
    accounting.take_reports(1, clock);
    assert_eq!(readings.load(Ordering::Relaxed), 3);
}
