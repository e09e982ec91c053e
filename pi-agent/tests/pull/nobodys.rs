//! Holders at addresses where no node is, named by the server or a peer.

use pi_agent::{fetch::FetchSettings, reach::Reach};
use piccolo_api::{Fault, Tried};

use crate::{
    bed::{Bed, blob_path, object, settings},
    counted::Counted,
    crowd::{Node, permit, take},
    fake::{self, Fake},
};

/// Settings of a node at `own`, where nodes are in these networks.
fn reaching(own: &str, cidrs: &[&str]) -> FetchSettings {
    let cidrs = cidrs.iter().map(|range| range.parse().unwrap());
    FetchSettings {
        reach: Reach::new(own.parse().unwrap(), cidrs.collect()),
        ..settings()
    }
}

fn counter(reason: &str) -> String {
    format!("piccolo_agent_named_holders_refused_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn who_is_named_where_no_node_is_gets_no_connection() {
    let counted = Counted::begin();
    let blob = object(300_000, 91);
    let path = blob_path(&blob);
    let service = Fake::start(fake::Fault::None, &blob).await;
    for (own, cidrs, reason) in [
        ("10.0.0.9", &[][..], "local"),
        ("::ffff:10.0.0.9", &[], "local"),
        ("127.0.0.1", &["10.0.0.0/8", "fd00::/8"], "outside"),
    ] {
        let before = counted.of(&counter(reason));
        let bed = Bed::with(vec![service.peer()], reaching(own, cidrs)).await;
        assert_eq!(bed.get(&path, "").await.status, 404, "{own} {cidrs:?}");
        assert_eq!(counted.of(&counter(reason)), before + 1, "{own} {cidrs:?}");
    }
    assert_eq!(service.requests(), 0);
    for (own, cidrs) in [("127.0.0.1", &[][..]), ("::1", &["::ffff:127.0.0.0/104"])] {
        let bed = Bed::with(vec![service.peer()], reaching(own, cidrs)).await;
        let reply = bed.get(&path, "").await;
        assert!(reply.status == 200 && reply.body == blob, "{own} {cidrs:?}");
    }
}

#[tokio::test]
async fn a_source_where_no_node_is_is_given_up_for_the_next() {
    let layer = object(3 << 20, 92);
    let source = Node::start(vec![permit()]).await;
    let _ingest = source.begin(&layer);
    source.ask(&layer, "").await;
    let turns = vec![take(&source), permit()];
    let node = Node::with_settings(turns, reaching("10.0.0.9", &[])).await;
    let _own = node.begin(&layer);
    assert_eq!(
        node.ask(&layer, "").await.status,
        404,
        "the registry's turn"
    );
    let joins = node.script.0.lock().joins.clone();
    let given_up = Tried {
        source: piccolo_api::Holder::new(source.peer).unwrap(),
        fault: Fault::Silent,
    };
    assert!(joins[0].tried.is_empty());
    assert_eq!(joins[1].tried, [given_up]);
}
