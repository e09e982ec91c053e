//! A gateway that takes a layer from several nodes at once: chunks come in their order whichever node brings
//! which, what one of them does harms nobody, and who cannot do it is taken from as before.

use std::{net::SocketAddr, time::Duration};

use piccolo_api::{Fault, Tried};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{net::TcpSocket, time::timeout};

use crate::{
    bed::{blob_path, object},
    client::{End, receive, request, send},
    counted::Counted,
    crowd::{Node, permit, take, take_from, take_from_all},
    feeder::{Faults, Feeder},
};

const MIB: usize = 1 << 20;
const FAILURES: &str = "piccolo_agent_swarm_chunk_failures_total";

/// Whose word every feeder's list is.
fn maker() -> SocketAddr {
    "10.0.0.1:7787".parse().unwrap()
}

fn good() -> Faults {
    Faults {
        maker: Some(maker()),
        ..Faults::default()
    }
}

async fn feeders<const N: usize>(layer: &[u8], faults: [Faults; N]) -> [Feeder; N] {
    let mut feeders = Vec::new();
    for faults in faults {
        feeders.push(Feeder::start(layer, faults).await);
    }
    feeders.try_into().unwrap()
}

/// A node that is told to take a layer from all of these, and then the rest of what it is told.
async fn node(feeders: &[Feeder], then: Vec<piccolo_api::Verdict>) -> Node {
    let addrs: Vec<_> = feeders.iter().map(|feeder| feeder.addr).collect();
    let mut turns = vec![take_from_all(&addrs, None)];
    turns.extend(then);
    Node::start(turns).await
}

fn tried(node: &Node, join: usize) -> Vec<Tried> {
    node.script.0.lock().joins[join].tried.clone()
}

fn joins(node: &Node) -> usize {
    node.script.0.lock().joins.len()
}

#[tokio::test]
async fn each_source_sends_its_stripe_and_the_layer_comes_in_order() {
    let layer = object(9 * MIB + 17, 101);
    let [a, b, c] = feeders(&layer, [good(), good(), good()]).await;
    let all = [a, b, c];
    let node = node(&all, Vec::new()).await;
    let _ingest = node.begin(&layer);
    let reply = node.ask(&layer, "").await;
    assert_eq!((reply.status, reply.end), (200, End::Complete));
    assert!(reply.body == layer, "other bytes");
    let asked = all.each_ref().map(Feeder::asked);
    assert_eq!(asked, [vec![0], vec![MIB], vec![2 * MIB]]);
    let joins = node.script.0.lock().joins.clone();
    assert_eq!(joins.len(), 1);
    assert!(joins[0].sources.is_some_and(|sources| sources > 1));
}

/// Of this program on both sides.
#[tokio::test]
async fn a_node_that_grows_sends_stripes_of_what_it_has() {
    let layer = object(9 * MIB + 5, 102);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer[..5 * MIB]);
    let second = Node::start(vec![take(&first)]).await;
    let growing = second.begin(&layer);
    let third = Node::start(vec![take_from_all(&[first.peer, second.peer], None)]).await;
    let _ingest = third.begin(&layer);
    let feeding = async {
        let (reply, ()) = tokio::join!(second.ask(&layer, ""), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ingest.write(&layer[5 * MIB..]);
        });
        growing.write(&reply.body);
    };
    // A node that has not begun has nothing.
    let asking = async {
        while joins(&second) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        third.ask(&layer, "").await
    };
    let (reply, ()) = tokio::join!(asking, feeding);
    assert!(reply.body == layer, "other bytes");
    assert_eq!(joins(&third), 1, "nobody failed");
    let fields = "Piccolo-Chunks: blake3-1048576\r\nPiccolo-Stripes: 4\r\n\
                  Range: bytes=1048576-\r\n";
    let reply = request(first.peer, "GET", &blob_path(&layer), fields).await;
    assert_eq!(reply.field("Piccolo-Stripes"), Some("4"));
    let chunk = |n: usize| &layer[n * MIB..layer.len().min((n + 1) * MIB)];
    let sent: Vec<_> = [1, 5, 9]
        .into_iter()
        .flat_map(|n| {
            let label = pi_agent::chunks::ChunkDigest::of(chunk(n)).label();
            [&label, chunk(n)].concat()
        })
        .collect();
    assert!(reply.body == sent, "other chunks");
}

#[tokio::test]
async fn more_sources_are_taken_from_as_soon_as_they_are_there() {
    let layer = object(9 * MIB, 103);
    let slow = Faults {
        pause: Duration::from_millis(60),
        ..good()
    };
    let [a, b] = feeders(&layer, [slow.clone(), slow]).await;
    let turns = vec![
        take_from_all(&[a.addr], Some(10)),
        take_from_all(&[a.addr], Some(20)),
        take_from_all(&[a.addr, b.addr], None),
    ];
    let node = Node::start(turns).await;
    let _ingest = node.begin(&layer);
    let reply = node.ask(&layer, "").await;
    assert!(reply.body == layer, "other bytes");
    let (asked_a, asked_b) = (a.asked(), b.asked());
    assert_eq!((asked_a.len(), asked_b.len()), (2, 1));
    assert_eq!(asked_b[0], asked_a[1] + MIB);
    let joins = node.script.0.lock().joins.clone();
    assert!(joins.len() == 3 && joins.iter().all(|join| join.tried.is_empty()));
}

#[tokio::test]
async fn a_source_that_breaks_off_is_replaced_at_the_same_byte() {
    let layer = object(9 * MIB, 104);
    let cut = Faults {
        cut: Some(3 * MIB + 5),
        ..good()
    };
    let all = feeders(&layer, [good(), cut]).await;
    let node = node(&all, vec![take_from(all[0].addr)]).await;
    let _ingest = node.begin(&layer);
    let reply = node.ask(&layer, "").await;
    assert!(reply.body == layer, "other bytes");
    assert_eq!(all[1].asked(), [MIB]);
    let asked = all[0].asked();
    // The chunks that were passed on before are not sent again.
    assert!(
        matches!(asked[..], [0, rest] if rest == 2 * MIB || rest == 3 * MIB),
        "{asked:?}"
    );
    let tried = tried(&node, 1);
    assert_eq!((tried.len(), tried[0].fault), (1, Fault::Empty));
    assert_eq!(tried[0].source.addr(), all[1].addr);
    assert!(node.fetcher.quarantines().is_empty());
}

/// Wherever it happens: a chunk that is on its way to containerd by then is not begun again.
#[tokio::test]
async fn a_source_may_break_off_while_containerd_takes_nothing() {
    let layer = object(14 * MIB, 110);
    for chunk in 3..7 {
        let cut = Faults {
            cut: Some(chunk * MIB + 5),
            lingers: Duration::from_millis(200),
            ..good()
        };
        let mut faults = [cut, good()];
        faults.rotate_left(chunk % 2);
        let all = feeders(&layer, faults).await;
        let node = node(&all, vec![take_from(all[(chunk + 1) % 2].addr)]).await;
        let _ingest = node.begin(&layer);
        let socket = TcpSocket::new_v4().unwrap();
        // So the agent's socket is full with a few chunks.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut containerd = socket.connect(node.mirror).await.unwrap();
        send(&mut containerd, "GET", &blob_path(&layer), "").await;
        let given_up = async {
            while joins(&node) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Where containerd has to take bytes first, it is not given up meanwhile.
        let _ = timeout(Duration::from_secs(1), given_up).await;
        let reply = receive(&mut containerd, "GET").await;
        assert!(reply.body == layer, "other bytes after the cut in {chunk}");
    }
}

#[tokio::test]
async fn a_wrong_byte_costs_its_sender_alone() {
    let counted = Counted::begin();
    let layer = object(9 * MIB, 105);
    let liar = Faults {
        wrong_byte: Some(4 * MIB + 5),
        ..good()
    };
    let all = feeders(&layer, [good(), liar, good()]).await;
    let rest = take_from_all(&[all[0].addr, all[2].addr], None);
    let node = node(&all, vec![rest]).await;
    let _ingest = node.begin(&layer);
    let reply = node.ask(&layer, "").await;
    assert!(reply.body == layer, "other bytes");
    let tried = tried(&node, 1);
    assert_eq!((tried.len(), tried[0].fault), (1, Fault::Wrong));
    assert_eq!(tried[0].source.addr(), all[1].addr);
    let quarantines = node.fetcher.quarantines();
    assert_eq!(quarantines.len(), 1, "{quarantines:?}");
    assert_eq!(quarantines[0].peer.addr(), all[1].addr);
    assert_eq!(counted.of(FAILURES), 1);
}

#[tokio::test]
async fn a_source_that_dies_silently_is_given_up_and_the_other_is_not() {
    let layer = object(9 * MIB, 106);
    let dies = Faults {
        dies: Some(3 * MIB + 5),
        ..good()
    };
    let all = feeders(&layer, [good(), dies]).await;
    let node = node(&all, vec![take_from(all[0].addr)]).await;
    let _ingest = node.begin(&layer);
    let reply = timeout(Duration::from_secs(8), node.ask(&layer, "")).await;
    let reply = reply.expect("the dead one is waited for");
    assert!(reply.body == layer, "other bytes");
    let tried = tried(&node, 1);
    assert_eq!(tried.len(), 1);
    assert_eq!(tried[0].source.addr(), all[1].addr);
}

#[tokio::test]
async fn who_has_no_room_is_told_of_as_that() {
    let layer = object(9 * MIB, 107);
    let busy = Faults {
        busy: true,
        ..good()
    };
    let all = feeders(&layer, [good(), busy]).await;
    let node = node(&all, vec![take_from(all[0].addr)]).await;
    let _ingest = node.begin(&layer);
    assert!(node.ask(&layer, "").await.body == layer, "other bytes");
    let tried = tried(&node, 1);
    assert_eq!((tried.len(), tried[0].fault), (1, Fault::Busy));
    assert_eq!(tried[0].source.addr(), all[1].addr);
}

#[tokio::test]
async fn nobody_is_given_up_for_being_an_older_agent() {
    let old = || Faults {
        unstriped: true,
        ..good()
    };
    let other_list = Faults::default();
    let cases = [
        ([old(), good()], [1, 0], "the first is older"),
        ([good(), old()], [2, 1], "the second is older"),
        ([good(), other_list], [2, 1], "they go by other lists"),
    ];
    for (n, (faults, asked, what)) in (0..).zip(cases) {
        let layer = object(9 * MIB, 108 + n);
        let all = feeders(&layer, faults).await;
        let node = node(&all, Vec::new()).await;
        let _ingest = node.begin(&layer);
        let reply = node.ask(&layer, "").await;
        assert!(reply.body == layer, "{what}: other bytes");
        assert_eq!(joins(&node), 1, "{what}");
        let times = all.each_ref().map(|feeder| feeder.asked().len());
        assert_eq!(times, asked, "{what}");
        assert!(node.fetcher.quarantines().is_empty(), "{what}");
    }
}

/// Chunks that are early wait for others; they must not keep those from coming.
#[tokio::test]
async fn many_layers_in_stripes_do_not_wait_for_each_other() {
    let slow = Faults {
        pause: Duration::from_millis(300),
        ..good()
    };
    let mut pulls = Vec::new();
    for seed in 120..132 {
        let layer = object(7 * MIB, seed);
        let all = feeders(&layer, [slow.clone(), good(), good()]).await;
        let node = node(&all, vec![permit()]).await;
        pulls.push(async move {
            let _ingest = node.begin(&layer);
            assert!(node.ask(&layer, "").await.body == layer, "other bytes");
        });
    }
    let all = futures_util::future::join_all(pulls);
    let ended = timeout(Duration::from_secs(20), all).await;
    ended.expect("the layers wait for each other");
}

/// In whatever pieces and at whatever pace the stripes come, and wherever a pull goes on.
#[test]
fn stripes_are_put_together_from_any_pieces() {
    let source = (proptest::collection::vec(1..900_000_usize, 0..3), 0..3_u64);
    let strategy = (0..3 * MIB, proptest::collection::vec(source, 2..5), 1..MIB);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
    let case = |(at, sources, size): (usize, Vec<(Vec<usize>, u64)>, usize)| {
        let layer = object(size + 5 * MIB, 140);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let mut all = Vec::new();
            for (pieces, pause) in sources {
                let faults = Faults {
                    pieces,
                    pause: Duration::from_millis(pause),
                    ..good()
                };
                all.push(Feeder::start(&layer, faults).await);
            }
            let node = node(&all, Vec::new()).await;
            let ingest = node.begin(&layer);
            ingest.write(&layer[..at]);
            let reply = node.ask(&layer, &format!("Range: bytes={at}-\r\n")).await;
            assert!(reply.body == layer[at..], "other bytes from {at} on");
            assert_eq!(joins(&node), 1, "somebody failed");
        });
        Ok(())
    };
    runner.run(&strategy, case).unwrap();
}
