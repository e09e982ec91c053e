//! `pi-agent peers`: a live table of peers and their rates.

use std::{
    io::{ErrorKind, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;

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
/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;
const HEADINGS: [&str; 9] = [
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

/// A peer, and its part of all that went to and came from peers since the agent started.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    peer: &'a PeerStatus,
    /// Between 0 and 1.
    share: f64,
}

/// The status whose rates are those of the last second: the agent looks at its counters when it is
/// asked, and otherwise seldom.
pub(super) async fn second(query: &Query) -> Result<Status> {
    query::status(query).await?;
    tokio::time::sleep(EVERY).await;
    query::status(query).await
}

/// Refreshes the table every second until the reader quits.
pub(super) async fn live(query: &Query) -> Result<ExitCode> {
    let mut status = second(query).await?;
    while show(&text(&status))? {
        tokio::time::sleep(EVERY).await;
        status = query::status(query).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows as much as fits on the terminal, in the place of what was there. Gives whether there still
/// is a reader.
fn show(text: &str) -> Result<bool> {
    let mut out = std::io::stdout();
    let screen = if out.is_terminal() {
        let size = rustix::termios::tcgetwinsize(&out);
        let lines = size.map_or(LINES, |size| usize::from(size.ws_row).max(2));
        let shown: Vec<_> = text.lines().take(lines - 1).collect();
        format!("{HOME}{}\n", shown.join("\n"))
    } else {
        format!("{text}\n")
    };
    let written = out.write_all(screen.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// All peers, busiest first.
pub(super) fn rows(status: &Status) -> Vec<Row<'_>> {
    let total: u64 = status.peers.iter().map(moved).fold(0, u64::saturating_add);
    let mut peers: Vec<_> = status.peers.iter().collect();
    peers.sort_by_key(|peer| {
        let now = peer.receive_rate.saturating_add(peer.send_rate);
        std::cmp::Reverse((now, moved(peer)))
    });
    let row = |peer| Row {
        peer,
        share: part(moved(peer), total),
    };
    peers.into_iter().map(row).collect()
}

/// The table, and above it what all peers together come to.
pub(super) fn text(status: &Status) -> String {
    let sum = |of: fn(&PeerStatus) -> u64| status.peers.iter().map(of).fold(0, u64::saturating_add);
    let cells: Vec<_> = rows(status).iter().map(Row::cells).collect();
    format!(
        "counted by {}; {} peers, {} down, {} up\n{}",
        status.accounting.in_force,
        status.peers.len(),
        rate(Some(sum(|peer| peer.receive_rate))),
        rate(Some(sum(|peer| peer.send_rate))),
        table(&HEADINGS, &cells)
    )
}

impl Row<'_> {
    fn cells(&self) -> Vec<String> {
        let peer = self.peer;
        let rtt = peer
            .rtt_us
            .map(|us| format!("{}.{:02}", us / 1000, us % 1000 / 10));
        vec![
            peer.addr.clone(),
            peer.rack.clone().unwrap_or_else(|| "-".to_owned()),
            rate(Some(peer.receive_rate)),
            rate(Some(peer.send_rate)),
            rtt.unwrap_or_else(|| "-".to_owned()),
            peer.retransmits.to_string(),
            bytes(peer.received_bytes),
            bytes(peer.sent_bytes),
            format!("{:.1} %", self.share * 100.0),
        ]
    }
}

fn moved(peer: &PeerStatus) -> u64 {
    peer.received_bytes.saturating_add(peer.sent_bytes)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a share is shown with three digits"
)]
fn part(of: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    of as f64 / total as f64
}

#[cfg(test)]
mod tests;
