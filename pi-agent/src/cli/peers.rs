//! `pi-agent peers`: a live table of peers and their rates.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;

use super::{
    query,
    table::{bytes, rate, table},
};
use crate::{
    config::Query,
    status::{PeerStatus, Status},
};

const EVERY: Duration = Duration::from_secs(1);
/// Moves the cursor home and clears what is below.
const HOME: &str = "\x1b[H\x1b[J";
/// Peers that fit on a screen.
const LIVE_ROWS: usize = 40;

/// Renews the table every second until the reader has had enough.
pub(super) async fn live(query: &Query) -> Result<ExitCode> {
    let home = if std::io::stdout().is_terminal() {
        HOME
    } else {
        ""
    };
    loop {
        let status = query::status(query).await?;
        let text: Vec<_> = text(&status)
            .lines()
            .take(LIVE_ROWS)
            .map(str::to_owned)
            .collect();
        let mut out = std::io::stdout();
        out.write_all(format!("{home}{}\n", text.join("\n")).as_bytes())?;
        out.flush()?;
        tokio::time::sleep(EVERY).await;
    }
}

/// The table, busiest peers first.
pub(super) fn text(status: &Status) -> String {
    let total: u64 = status.peers.iter().map(moved).sum();
    let mut peers: Vec<_> = status.peers.iter().collect();
    peers.sort_by_key(|peer| {
        let now = peer.receive_rate.saturating_add(peer.send_rate);
        std::cmp::Reverse((now, moved(peer)))
    });
    let rows: Vec<_> = peers.into_iter().map(|peer| row(peer, total)).collect();
    let headings = [
        "peer",
        "rack",
        ">down",
        ">up",
        ">rtt ms",
        ">resent",
        ">received",
        ">sent",
        ">share",
    ];
    format!(
        "counted by {}\n{}",
        status.accounting.in_force,
        table(&headings, &rows)
    )
}

fn row(peer: &PeerStatus, total: u64) -> Vec<String> {
    let share = moved(peer).saturating_mul(100).checked_div(total);
    let rtt = peer
        .rtt_us
        .map(|us| format!("{}.{:02}", us / 1000, us % 1000 / 10));
    vec![
        peer.addr.clone(),
        peer.rack.clone().unwrap_or_default(),
        rate(Some(peer.receive_rate)),
        rate(Some(peer.send_rate)),
        rtt.unwrap_or_else(|| "-".to_owned()),
        peer.retransmits.to_string(),
        bytes(peer.received_bytes),
        bytes(peer.sent_bytes),
        share.map(|share| format!("{share} %")).unwrap_or_default(),
    ]
}

fn moved(peer: &PeerStatus) -> u64 {
    peer.received_bytes.saturating_add(peer.sent_bytes)
}
