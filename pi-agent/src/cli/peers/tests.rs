//! The table of a made-up status.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn status(peers: &Value) -> Status {
    let address = "127.0.0.1:1";
    serde_json::from_value(json!({
        "version": "1", "uptime_seconds": 1, "ready": true, "group": "g", "holder": null,
        "addresses": {"mirror": address, "peer": address, "admin": address},
        "content": crate::content::Overview::default(),
        "servers": [], "standing": crate::discovery::Standing::default(),
        "mirror": crate::status::MirrorTotals::default(),
        "accounting": {"in_force": "ebpf", "reason": "best", "detail": ""},
        "peers": peers, "quarantines": [], "uploads": 0, "upload_slots": 1,
    }))
    .expect("a status")
}

fn peer(addr: &str, received: u64, rate: u64) -> Value {
    let peer = PeerStatus {
        addr: addr.to_owned(),
        received_bytes: received,
        receive_rate: rate,
        ..PeerStatus::default()
    };
    serde_json::to_value(peer).expect("JSON")
}

#[test]
fn the_busiest_come_first_and_all_is_said_of_each() {
    let mut busy = peer("10.0.0.2", 1 << 20, 2048);
    busy["rack"] = json!("r1");
    busy["rtt_us"] = json!(1234);
    busy["retransmits"] = json!(7);
    busy["send_rate"] = json!(1024);
    let status = status(&json!([peer("10.0.0.1", 3 << 20, 0), busy]));
    assert_eq!(
        text(&status),
        "counted by ebpf; 2 peers, 2.0 KiB/s down, 1.0 KiB/s up\n\
         peer      rack       down         up  rtt ms  resent  received  sent   share\n\
         10.0.0.2  r1    2.0 KiB/s  1.0 KiB/s    1.23       7   1.0 MiB   0 B  25.0 %\n\
         10.0.0.1  -             -          -       -       0   3.0 MiB   0 B  75.0 %\n"
    );
    let rows = serde_json::to_value(rows(&status)).expect("JSON");
    assert_eq!(rows[0]["addr"], "10.0.0.2");
    assert_eq!(
        (&rows[0]["rack"], &rows[0]["share"]),
        (&json!("r1"), &json!(0.25))
    );
    assert_eq!(rows[0]["receive_rate"], 2048);
}

#[tokio::test]
async fn the_rates_shown_are_those_of_the_second_after_the_first_look() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let admin = listener.local_addr().expect("its address");
    let first = serde_json::to_string(&status(&json!([peer("10.0.0.1", 0, 10)])));
    let then = serde_json::to_string(&status(&json!([peer("10.0.0.1", 0, 20)])));
    let agent = async {
        for body in [first.expect("JSON"), then.expect("JSON")] {
            let (mut client, _) = listener.accept().await.expect("a client");
            let _ = client.read(&mut [0; 4096]).await.expect("a request");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
            let reply = format!("{head}connection: close\r\n\r\n{body}");
            client.write_all(reply.as_bytes()).await.expect("the reply");
        }
    };
    let query = Query { admin, json: false };
    let (shown, ()) = tokio::join!(second(&query), agent);
    assert_eq!(shown.expect("a status").peers[0].receive_rate, 20);
}

#[test]
fn nobody_has_no_share() {
    let status = status(&json!([peer("10.0.0.1", 0, 0)]));
    assert!(text(&status).ends_with("0.0 %\n"));
    assert!(
        text(&self::status(&json!([]))).starts_with("counted by ebpf; 0 peers, - down, - up\n")
    );
}
