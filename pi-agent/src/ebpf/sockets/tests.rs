//! Real connections over loopback, counted in user space.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
};

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("its address"));
    let (server, _) = listener.accept().expect("the connection");
    (client.expect("a connection"), server)
}

fn table(capacity: usize) -> SocketTable {
    let table = SocketTable::new(capacity, Instant::now());
    table.activate();
    table
}

fn address(n: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, n), 7787).into()
}

/// Sends from one end, reads it at the other, and waits until it is acknowledged.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    let data = vec![7; bytes];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(&data).expect("sent"));
        to.read_exact(&mut vec![0; bytes]).expect("received");
    });
    // An answer carries the acknowledgement.
    to.write_all(b"!").expect("sent");
    from.read_exact(&mut [0]).expect("received");
}

#[test]
fn bytes_are_the_kernels_with_either_side_closing_first() {
    for server_first in [true, false] {
        let table = table(8);
        let (mut client, mut server) = pair();
        let opened = table.register(address(1), &client);
        let accepted = table.register(address(2), &server);
        pass(&mut client, &mut server, 100_000);
        let (first, second) = if server_first {
            (&server, &client)
        } else {
            (&client, &server)
        };
        first.shutdown(Shutdown::Write).expect("shut down");
        let mut second = second;
        assert_eq!(second.read(&mut [0]).expect("the end"), 0);
        drop((opened, accepted));
        let counters = table.read();
        let [one, two] = [1, 2].map(|n| counters[&address(n).ip()]);
        assert_eq!((one.sent.bytes, one.received.bytes), (100_000, 1));
        assert_eq!((two.sent.bytes, two.received.bytes), (1, 100_000));
        assert_eq!((one.opened, one.closed), (1, 1));
        assert_ne!(one.srtt_us, 0);
    }
}

#[test]
fn progress_gives_busy_time() {
    let table = table(8);
    let (mut client, mut server) = pair();
    let registered = table.register(address(1), &client);
    pass(&mut server, &mut client, 500_000);
    registered.sent(100);
    registered.received(250_000);
    registered.received(250_000);
    let counters = table.read()[&address(1).ip()];
    assert_eq!(counters.received.rated_bytes, 500_000);
    assert_eq!(counters.received.bursts, 1);
    assert!(counters.received.busy_ns > 0);
    assert_eq!(counters.sent.rated_bytes, 0);
}

#[test]
fn the_table_is_bounded_and_forgets_only_the_unconnected() {
    let table = table(1);
    let (client, server) = pair();
    let first = table.register(address(1), &client);
    let _second = table.register(address(2), &server);
    assert_eq!((table.read().len(), table.full()), (1, 1));
    table.remove(address(1).ip());
    assert_eq!(table.read().len(), 1);
    drop(first);
    table.remove(address(1).ip());
    assert_eq!(table.read().len(), 0);
}

#[test]
fn nothing_is_kept_while_the_kernel_counts() {
    let table = SocketTable::new(8, Instant::now());
    let (client, _server) = pair();
    let registered = table.register(address(1), &client);
    registered.sent(10);
    assert!(table.read().is_empty());
}
