//! `pi-agent status` for people.

use std::slice;

use piccolo_api::FailureKind;

use super::table::{bytes, rate, table};
use crate::{
    content::Access,
    keeper::{Duty, HostsStatus},
    status::{Status, SwarmBlob, SwarmStatus, TagsStatus},
};

/// The status as text.
pub(super) fn text(status: &Status) -> String {
    let rows: Vec<_> = [node(status), content(status), traffic(status)]
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let mut text = table(&["", ""], &rows).trim_start().to_owned();
    if !status.swarm.blobs.is_empty() {
        text.push('\n');
        text += &crowd_table(&status.swarm.blobs);
    }
    if !status.peers.is_empty() {
        text.push('\n');
        text += &peer_table(status);
    }
    text
}

type Line = (&'static str, String);

fn node(status: &Status) -> Vec<Line> {
    let at = &status.addresses;
    let ready = if status.ready { "ready" } else { "not ready" };
    let holder = status.holder.as_deref().unwrap_or("-");
    vec![
        ("version", status.version.clone()),
        ("up", format!("{} s, {ready}", status.uptime_seconds)),
        ("node", format!("{holder} in group {}", status.group)),
        (
            "listens",
            format!("mirror {}, peer {}, admin {}", at.mirror, at.peer, at.admin),
        ),
        ("tls", tls(&status.tls)),
        ("hosts.toml", hosts(&status.hosts)),
    ]
}

fn tls(mode: &str) -> String {
    match mode {
        "" | "off" => "off".to_owned(),
        mode => format!("{mode}, with servers and other agents"),
    }
}

fn hosts(hosts: &HostsStatus) -> String {
    let keeper = match hosts.duty {
        Duty::Off => return "not the agent's to keep (--hosts off)".to_owned(),
        Duty::Watch => "kept by keep-hosts",
        Duty::Write => "kept by the agent",
    };
    let count = hosts.registries;
    let losses = match hosts.losses {
        0 => String::new(),
        losses => format!(", lost {losses} times since the start"),
    };
    if hosts.in_force() {
        format!("names this agent first for {count} registries ({keeper}{losses})")
    } else {
        format!("NOT in force ({keeper}{losses}): {}", hosts.complaint())
    }
}

fn content(status: &Status) -> Vec<Line> {
    let content = &status.content;
    let standing = &status.standing;
    let stored = format!(
        "{} images, {} blobs, {} ({})",
        content.images,
        content.blobs,
        bytes(content.bytes),
        access(content.access)
    );
    let synced = match &standing.refused {
        Some(refused) => format!("REFUSED by the server: {refused}"),
        None if standing.synced => "known to the server".to_owned(),
        None => "not yet known to the server".to_owned(),
    };
    let announced = format!(
        "{synced} (change {}, {} waiting)",
        standing.seq, standing.pending
    );
    let shares = format!(
        "{} objects, {} tags",
        content.shared_objects, content.shared_tags
    );
    let servers = status
        .servers
        .iter()
        .map(|server| ("server", self::server(server)));
    [
        ("containerd", containerd(status)),
        ("content", stored),
        ("shares", shares),
    ]
    .into_iter()
    .chain(servers)
    .chain([("announced", announced)])
    .collect()
}

fn traffic(status: &Status) -> Vec<Line> {
    let mirror = &status.mirror;
    let ratio = mirror
        .hit_ratio
        .map(|r| format!(" (hit ratio by bytes {r:.3})"))
        .unwrap_or_default();
    let got = format!(
        "{} from this node, {} from peers, {} elsewhere; {} requests missed{ratio}",
        bytes(mirror.own_bytes),
        bytes(mirror.peer_bytes),
        bytes(mirror.missed_bytes),
        mirror.misses,
    );
    let gave = format!(
        "{}, {} of {} upload slots taken",
        bytes(mirror.served_bytes),
        status.uploads,
        status.upload_slots
    );
    let quarantines = status.quarantines.iter().map(|quarantine| {
        let what = quarantine.digest.as_deref().unwrap_or("everything");
        let left = quarantine.ends_in_seconds;
        (
            "not trusted",
            format!("{} for {what}, {left} s more", quarantine.peer),
        )
    });
    let accounting = status.accounting.to_string();
    [
        ("containerd got", got),
        ("peers got", gave),
        ("accounting", accounting),
        ("swarm", swarm(&status.swarm)),
        ("tags", tags(&status.tags).to_owned()),
        ("private", private(status)),
    ]
    .into_iter()
    .chain(quarantines)
    .collect()
}

fn swarm(swarm: &SwarmStatus) -> String {
    let flight = match (swarm.on, swarm.blobs.len()) {
        (false, _) => return "off".to_owned(),
        (true, 0) => "nothing".to_owned(),
        (true, count) => format!("{count} blobs"),
    };
    format!(
        "on, {flight} in flight, {} nodes in the rack",
        swarm.rack_mates
    )
}

fn private(status: &Status) -> String {
    let asked = match status.mirror.private {
        0 => String::new(),
        count => format!(", asked for {count} times"),
    };
    match status.tags.private.as_slice() {
        [] => "nothing: manifests come from peers".to_owned(),
        patterns => format!(
            "{}: manifests are left to their registries{asked}",
            patterns.join(", ")
        ),
    }
}

fn tags(tags: &TagsStatus) -> &'static str {
    match (tags.resolved, tags.shared) {
        (false, _) => "left to containerd",
        (true, false) => "resolved here, each node asks the registry",
        (true, true) => "resolved here, one node of the group asks the registry for all",
    }
}

/// One line for each blob that this node is getting together with others.
fn crowd_table(blobs: &[SwarmBlob]) -> String {
    let rows: Vec<_> = blobs
        .iter()
        .map(|blob| {
            let from = match (&blob.takes_from, blob.permit, blob.waiting_seconds) {
                (Some(source), _, _) => [slice::from_ref(source), &blob.takes_also_from]
                    .concat()
                    .join(" "),
                (None, true, _) => "the registry".to_owned(),
                (None, false, Some(seconds)) => format!("waits for {seconds:.1} s"),
                (None, false, None) => "-".to_owned(),
            };
            let feeds = if blob.slow {
                "nobody: too slow".to_owned()
            } else {
                blob.feeds.join(" ")
            };
            let percent = blob.bytes.saturating_mul(100) / blob.total.max(1);
            let digest: String = blob.digest.chars().take(19).collect();
            vec![
                digest,
                format!("{percent} %"),
                bytes(blob.total),
                blob.rank.clone().unwrap_or_default(),
                from,
                feeds,
            ]
        })
        .collect();
    table(
        &["getting", ">there", ">of", "rank", "from", "feeds"],
        &rows,
    )
}

/// One line for each peer that anything went to or came from.
fn peer_table(status: &Status) -> String {
    let mut peers: Vec<_> = status.peers.iter().collect();
    peers.sort_by_key(|p| std::cmp::Reverse(p.received_bytes.saturating_add(p.sent_bytes)));
    let rows: Vec<_> = peers
        .into_iter()
        .map(|peer| {
            vec![
                peer.addr.clone(),
                peer.rack.clone().unwrap_or_default(),
                bytes(peer.received_bytes),
                bytes(peer.sent_bytes),
                rate(peer.receive_throughput),
                rate(peer.send_throughput),
                peer.failures.to_string(),
                peer.last_failure.map(failure).unwrap_or_default(),
            ]
        })
        .collect();
    table(
        &[
            "peer",
            "rack",
            ">received",
            ">sent",
            ">came at",
            ">went at",
            ">failed",
            "at last",
        ],
        &rows,
    )
}

/// The word for it that the API has, too.
fn failure(kind: FailureKind) -> String {
    let word = serde_json::to_value(kind).ok();
    let word = word.as_ref().and_then(serde_json::Value::as_str);
    word.unwrap_or_default().replace('_', " ")
}

fn containerd(status: &Status) -> String {
    let content = &status.content;
    let version = content
        .containerd_version
        .as_deref()
        .unwrap_or("version unknown");
    match (content.containerd_connected, &content.containerd_error) {
        (true, _) => format!("connected ({version})"),
        (false, Some(error)) => format!("away: {error}"),
        (false, None) => "not reached yet".to_owned(),
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Nothing => "not seen yet",
        Access::Inotify => "watched",
        Access::Polling => "read every second",
        Access::Grpc => "listed over gRPC",
    }
}

fn server(server: &crate::discovery::ServerView) -> String {
    let state = match (server.breaker_open, &server.last_error) {
        (false, _) if server.preferred => "in use".to_owned(),
        (false, _) => "in reserve".to_owned(),
        (true, Some(error)) => format!("left alone after {} failures: {error}", server.failures),
        (true, None) => "left alone".to_owned(),
    };
    format!("{} {state}", server.url)
}
