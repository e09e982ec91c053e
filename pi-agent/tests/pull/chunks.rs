//! Chunks of what grows: a node that sends a wrong one is found out before containerd has a byte of it,
//! and nobody else is called a liar.

use std::time::Duration;

use pi_agent::content::verdict::Verdict;
use piccolo_api::{Fault, Holder};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    bed::{blob_path, digest, object},
    client::{End, read_part, request},
    counted::Counted,
    crowd::{Node, permit, take, take_from},
    feeder::{Faults, Feeder},
};

const MIB: usize = 1 << 20;

const CHECKED: &str = "piccolo_agent_swarm_chunks_checked_total";
const FAILURES: &str = "piccolo_agent_swarm_chunk_failures_total";
const FALSE: &str = "piccolo_agent_swarm_lists_refused_total{why=\"false\"}";
const DIFFERS: &str = "piccolo_agent_swarm_lists_refused_total{why=\"differs\"}";

#[tokio::test]
async fn a_wrong_byte_costs_its_sender_the_transfer_and_no_pull() {
    let counted = Counted::begin();
    let layer = object(9 * MIB, 81);
    let faults = Faults {
        wrong_byte: Some(3 * MIB + 5),
        ..Faults::default()
    };
    let liar = Feeder::start(&layer, faults).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let node = Node::start(vec![take_from(liar.addr), take_from(good.addr)]).await;
    let _ingest = node.begin(&layer);
    let reply = node.ask(&layer, "").await;
    assert_eq!((reply.status, reply.end), (200, End::Complete));
    assert!(reply.body == layer, "other bytes");
    assert_eq!(good.asked(), [3 * MIB], "from the wrong chunk on");
    let tried = node.script.0.lock().joins[1].tried.clone();
    assert_eq!((tried.len(), tried[0].fault), (1, Fault::Wrong));
    assert_eq!(tried[0].source.addr(), liar.addr);
    let quarantines = node.fetcher.quarantines();
    assert_eq!(quarantines.len(), 1, "{quarantines:?}");
    assert_eq!(quarantines[0].peer.addr(), liar.addr);
    assert_eq!((counted.of(CHECKED), counted.of(FAILURES)), (10, 1));
}

/// A node in the middle hands on the list that it got, so what its disk makes of the bytes is found
/// out by the next one, which names it and not who is above.
#[tokio::test]
async fn a_damaged_node_in_the_middle_is_found_out_by_the_next() {
    let layer = object(9 * MIB, 82);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer);
    let middle = Node::start(vec![take(&first)]).await;
    let damaged = middle.begin(&layer);
    let mut bytes = middle.ask(&layer, "").await.body;
    assert!(bytes == layer, "other bytes");
    bytes[4 * MIB + 7] ^= 1;
    damaged.write(&bytes);
    let last = Node::start(vec![take(&middle), take(&first)]).await;
    let _ingest = last.begin(&layer);
    let reply = last.ask(&layer, "").await;
    assert!(reply.body == layer, "other bytes");
    let quarantines = last.fetcher.quarantines();
    assert_eq!(quarantines.len(), 1, "{quarantines:?}");
    assert_eq!(quarantines[0].peer.addr(), middle.peer);
    let tried = last.script.0.lock().joins[1].tried.clone();
    assert_eq!(tried[0].source.addr(), middle.peer);
    // Downstream nodes are not blamed.
    assert!(middle.fetcher.quarantines().is_empty());
}

#[tokio::test]
async fn what_is_passed_on_has_the_digests_of_the_first_reader() {
    let layer = object(5 * MIB, 83);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer);
    let field = "Piccolo-Chunks: blake3-1048576\r\n";
    let fields = format!("{field}Range: bytes=1048577-\r\n");
    let reply = request(first.peer, "GET", &blob_path(&layer), &fields).await;
    assert_eq!((reply.status, reply.end), (206, End::Complete));
    assert_eq!(reply.field("Piccolo-Chunks"), Some("blake3-1048576"));
    let range = reply.field("Content-Range");
    assert_eq!(range, Some("bytes 1048576-5242879/5242880"));
    assert_eq!(reply.field("Piccolo-Maker"), None);
    for (number, part) in reply.body.chunks(MIB + 32).enumerate() {
        let chunk = &layer[(number + 1) * MIB..(number + 2) * MIB];
        assert!(part[..32] == pi_agent::chunks::ChunkDigest::of(chunk).label());
        assert!(part[32..] == *chunk, "other bytes");
    }
    let second = Node::start(vec![take(&first)]).await;
    let ingest = second.begin(&layer);
    ingest.write(&second.ask(&layer, "").await.body);
    let reply = request(second.peer, "GET", &blob_path(&layer), field).await;
    let maker = Holder::new(first.peer).unwrap().to_string();
    assert_eq!(reply.field("Piccolo-Maker"), Some(&*maker));
}

#[tokio::test]
async fn a_source_that_dies_within_a_chunk_is_followed_by_another_at_the_same_byte() {
    let layer = object(9 * MIB, 84);
    let faults = Faults {
        cut: Some(5 * MIB + 500_000),
        ..Faults::default()
    };
    let dying = Feeder::start(&layer, faults).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let node = Node::start(vec![take_from(dying.addr), take_from(good.addr)]).await;
    let _ingest = node.begin(&layer);
    let reply = node.ask(&layer, "").await;
    assert!(reply.body == layer, "other bytes");
    assert_eq!(good.asked(), [5 * MIB]);
    assert!(node.fetcher.quarantines().is_empty());
}

#[tokio::test]
async fn a_range_that_begins_within_a_chunk_gets_its_bytes_and_no_others() {
    let layer = object(9 * MIB, 85);
    let good = Feeder::start(&layer, Faults::default()).await;
    let node = Node::start(vec![take_from(good.addr)]).await;
    let ingest = node.begin(&layer);
    let at = 2 * MIB + 77;
    ingest.write(&layer[..at]);
    let reply = node.ask(&layer, &format!("Range: bytes={at}-\r\n")).await;
    assert_eq!(reply.status, 206);
    assert!(reply.body == layer[at..], "other bytes");
}

/// The first list that was followed counts. A source with another for bytes that passed already is not
/// used, and is not called a liar: it may be the one who is right.
#[tokio::test]
async fn a_source_with_another_list_is_not_used() {
    let counted = Counted::begin();
    let layer = object(9 * MIB, 86);
    let faults = Faults {
        false_list: Some(2 * MIB + 9),
        ..Faults::default()
    };
    let false_maker = Feeder::start(&layer, faults).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let turns = vec![
        take_from(false_maker.addr),
        take_from(good.addr),
        permit(),
        permit(),
    ];
    let node = Node::start(turns).await;
    let ingest = node.begin(&layer);
    // containerd breaks off within the third chunk, and comes back for the rest.
    let part = read_part(node.mirror, blob_path(&layer), 0, 2 * MIB + 100).await;
    ingest.write(&part);
    let rest = format!("Range: bytes={}-\r\n", part.len());
    assert_eq!(node.ask(&layer, &rest).await.status, 206);
    assert_eq!(counted.of(DIFFERS), 1);
    assert!(node.fetcher.quarantines().is_empty());
}

#[tokio::test]
async fn what_grows_without_digests_is_not_taken() {
    let layer = object(9 * MIB, 87);
    let faults = Faults {
        unlabelled: true,
        ..Faults::default()
    };
    let older = Feeder::start(&layer, faults).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let node = Node::start(vec![take_from(older.addr), take_from(good.addr)]).await;
    let _ingest = node.begin(&layer);
    assert!(node.ask(&layer, "").await.body == layer, "other bytes");
    assert_eq!((older.asked().len(), good.asked().len()), (1, 1));
}

/// Its own containerd got the bytes from a node that has them all: that one answers for the list.
#[tokio::test]
async fn who_has_it_all_answers_for_the_list_that_is_made_of_it() {
    let layer = object(9 * MIB, 88);
    let holder = Node::start(Vec::new()).await;
    let ingest = holder.begin(&layer);
    ingest.write(&layer);
    ingest.commit();
    let first = Node::start(vec![take(&holder)]).await;
    let ingest = first.begin(&layer);
    ingest.write(&first.ask(&layer, "").await.body);
    let field = "Piccolo-Chunks: blake3-1048576\r\n";
    let reply = request(first.peer, "GET", &blob_path(&layer), field).await;
    let maker = Holder::new(holder.peer).unwrap().to_string();
    assert_eq!(reply.field("Piccolo-Maker"), Some(&*maker));
}

fn with_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

/// However the bytes come and wherever a pull goes on, what comes out is the layer.
#[test]
fn chunks_are_put_together_from_any_pieces() {
    let strategy = (
        0..3 * MIB,
        proptest::collection::vec(1..700_000_usize, 1..4),
        MIB * 4..5 * MIB,
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
    let case = |(at, pieces, size): (usize, Vec<usize>, usize)| {
        let layer = object(size + MIB, 89);
        with_runtime(async {
            let faults = Faults {
                pieces,
                ..Faults::default()
            };
            let good = Feeder::start(&layer, faults).await;
            let node = Node::start(vec![take_from(good.addr)]).await;
            let ingest = node.begin(&layer);
            ingest.write(&layer[..at]);
            let reply = node.ask(&layer, &format!("Range: bytes={at}-\r\n")).await;
            assert!(reply.body == layer[at..], "other bytes from {at} on");
        });
        Ok(())
    };
    runner.run(&strategy, case).unwrap();
}

/// Whatever a source sends, only chunks that have their digest come through.
#[test]
fn noise_never_comes_through() {
    let layer = object(5 * MIB, 90);
    let strategy = proptest::collection::vec(any::<u8>(), 0..3000);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
    let case = |mut noise: Vec<u8>| {
        // Enough for a chunk and its digest now and then.
        if noise.len().is_multiple_of(2) {
            noise.resize(2 * MIB, 7);
        }
        with_runtime(async {
            let faults = Faults {
                noise: Some(noise),
                ..Faults::default()
            };
            let liar = Feeder::start(&layer, faults).await;
            let node = Node::start(vec![take_from(liar.addr), permit()]).await;
            let _ingest = node.begin(&layer);
            let reply = node.ask(&layer, "").await;
            assert_eq!((reply.status, reply.end), (200, End::Fin));
            assert!(reply.body.is_empty(), "{} bytes", reply.body.len());
        });
        Ok(())
    };
    runner.run(&strategy, case).unwrap();
}

#[tokio::test]
async fn a_node_whose_chunks_come_slowly_is_waited_for() {
    let layer = object(5 * MIB, 91);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer[..MIB]);
    let second = Node::start(vec![take(&first)]).await;
    let _ingest = second.begin(&layer);
    let feeding = async {
        // A chunk takes longer than a source may be silent.
        for part in layer[MIB..2 * MIB].chunks(MIB / 4) {
            tokio::time::sleep(Duration::from_millis(600)).await;
            ingest.write(part);
        }
        ingest.write(&layer[2 * MIB..]);
        ingest.commit();
    };
    let (reply, ()) = tokio::join!(second.ask(&layer, ""), feeding);
    let joins = second.script.0.lock().joins.clone();
    assert_eq!(joins.len(), 1, "{joins:?}");
    assert!(reply.body == layer, "other bytes");
}

/// What containerd refuses although it fits its list is the maker's fault, not that of who passed it on;
/// the server is told, once.
#[tokio::test]
async fn a_false_list_is_its_makers_fault_and_the_server_is_told() {
    let counted = Counted::begin();
    let layer = object(9 * MIB, 92);
    let faults = Faults {
        false_list: Some(4 * MIB),
        ..Faults::default()
    };
    let maker = Feeder::start(&layer, faults).await;
    let middle = Node::start(vec![take_from(maker.addr)]).await;
    let ingest = middle.begin(&layer);
    ingest.write(&middle.ask(&layer, "").await.body);
    let last = Node::start(vec![take(&middle)]).await;
    last.verdicts.watch();
    last.verdicts.give(Verdict::Wrong);
    let _ingest = last.begin(&layer);
    let reply = last.ask(&layer, "").await;
    assert!(reply.end == End::Complete && reply.body != layer);
    let told = last.told(|p| p.refused.is_some()).await;
    assert_eq!(told.refused, Holder::new(maker.addr).ok());
    assert_eq!(told.key, digest(&layer).as_str());
    let quarantines = last.fetcher.quarantines();
    assert_eq!(quarantines.len(), 1, "{quarantines:?}");
    assert_eq!(quarantines[0].peer.addr(), maker.addr);
    assert_eq!(counted.of(FALSE), 1);
}
