//! The discovery server: whether it answers, knows this node, and has the same time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use daemon::{
    clock::Clock,
    telemetry::chain,
    tls::{Connector, Peer, Role, Tls},
};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use piccolo_api::FailureKind;

use super::{Check, Verdict};
use crate::{
    config::Doctor,
    status::{PeerStatus, Status},
};

const DEADLINE: Duration = Duration::from_secs(3);
/// Beyond this, log lines and metrics of the two are hard to bring together.
const MAX_SKEW: Duration = Duration::from_secs(5);
/// For as many seconds a failure with a peer is worth a line.
const RECENT_S: u64 = 600;

pub(super) async fn checks(
    settings: &Doctor,
    status: Option<&Status>,
    clock: &Clock,
) -> Vec<Check> {
    let urls = match (settings.servers.server.is_empty(), status) {
        (true, Some(status)) => status.servers.iter().map(|s| s.url.clone()).collect(),
        _ => settings.servers.server.clone(),
    };
    if urls.is_empty() {
        let remedy = "give --server http://HOST:7789 or PI_AGENT_SERVER";
        return vec![Check::new("server", Verdict::Bad, "none is known", remedy)];
    }
    let mut checks = Vec::new();
    let tls = match settings.tls.to_look().load(&[Role::Agent], clock) {
        Ok(tls) => tls,
        Err(error) => {
            let found = chain(&error).to_string();
            let remedy = "see --tls and docs/tls.md; with --tls-issuer, the agent's log and /readyz say why \
                          none was issued";
            return vec![Check::new("certificate", Verdict::Bad, found, remedy)];
        }
    };
    for url in &urls {
        checks.extend(instance(url, &tls, clock).await);
    }
    // One that answers is enough.
    let answered = checks
        .iter()
        .any(|c| c.name == "server" && c.verdict == Verdict::Good);
    if answered {
        for check in checks
            .iter_mut()
            .filter(|check| check.verdict == Verdict::Bad)
        {
            check.verdict = Verdict::Warning;
        }
    }
    if let Some(status) = status {
        checks.push(standing(status));
        checks.extend(identities(&status.peers));
    }
    checks
}

async fn instance(url: &str, tls: &Tls, clock: &Clock) -> Vec<Check> {
    let date = match tokio::time::timeout(DEADLINE, date(url, tls)).await {
        Ok(Ok(date)) => date,
        Ok(Err(error)) => return vec![away(url, &format!("{error:#}"))],
        Err(_) => return vec![away(url, "no answer in time")],
    };
    let mut checks = vec![Check::good("server", format!("{url} answers"))];
    if let Some(date) = date {
        let skew = clock.now().abs_diff(date);
        let found = format!("{} s apart from {url}", skew.as_secs());
        checks.push(if skew <= MAX_SKEW {
            Check::good("clock", found)
        } else {
            Check::new(
                "clock",
                Verdict::Warning,
                found,
                "let both keep time by NTP (chrony)",
            )
        });
    }
    checks
}

fn away(url: &str, error: &str) -> Check {
    Check::new(
        "server",
        Verdict::Bad,
        format!("{url}: {error}"),
        "start it, let the firewall pass it, or correct --server; meanwhile pulls go to the \
         registry",
    )
}

/// Peers with which this node could lately not agree who they are.
fn identities(peers: &[PeerStatus]) -> Option<Check> {
    let is_wrong = |peer: &&PeerStatus| {
        // What was mended before shows no more. An agent that gives no age gives no end either.
        let is_recent = peer.last_failure_age_s.is_none_or(|age| age < RECENT_S);
        peer.last_failure == Some(FailureKind::Identity) && is_recent
    };
    let wrong: Vec<_> = peers.iter().filter(is_wrong).collect();
    let first = wrong.first()?;
    let count = wrong.len();
    Some(Check::new(
        "peers' certificates",
        Verdict::Warning,
        format!(
            "in the last {} minutes {count} peers or this node did not show who they have to be, {} for one",
            RECENT_S / 60,
            first.addr
        ),
        "the logs of both agents say what is wrong with whose certificate: see docs/tls.md",
    ))
}

/// The time of the server's reply, where it says it.
async fn date(url: &str, tls: &Tls) -> Result<Option<Duration>> {
    let uri = format!("{url}{}", piccolo_api::path::HEALTH).parse()?;
    let peer = Peer {
        tls: tls.clone(),
        role: Some(Role::Server),
        group: None,
    };
    let connector = Connector::new(HttpConnector::new(), peer);
    let client: Client<Connector, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let reply = client.get(uri).await?;
    anyhow::ensure!(reply.status().is_success(), "it answers {}", reply.status());
    let date = reply.headers().get(http::header::DATE).cloned();
    // The rest of the reply is of no use, but ends the connection in good order.
    let _ = reply.into_body().collect().await;
    let Some(date) = date else {
        return Ok(None);
    };
    let date = httpdate::parse_http_date(date.to_str()?)?;
    let since = date.duration_since(std::time::UNIX_EPOCH);
    Ok(Some(since.context("the server's time is before 1970")?))
}

fn standing(status: &Status) -> Check {
    let standing = &status.standing;
    let found = format!(
        "change {} of {} shared objects, {} waiting",
        standing.seq, status.content.shared_objects, standing.pending
    );
    if let Some(refused) = &standing.refused {
        let remedy = if refused.contains("certificate") {
            "this node's certificate is for another node, group or address, or it shows none to a server \
             that has seen one: see docs/tls.md"
        } else if refused.starts_with("403") {
            "the server runs with --bind-holder, and this node's calls reach it from another address \
             than peers are told: the option is for networks without address translation between \
             agents and servers (a pod's bridge on the server's own node is such a translation). Take \
             it off, or give --advertise-address the address that the server sees"
        } else {
            "it stays so until the settings of the agent or of the server change"
        };
        let found = format!("{found}; the server refuses it: {refused}");
        Check::new("announced", Verdict::Bad, found, remedy)
    } else if standing.synced {
        Check::good("announced", found)
    } else {
        let remedy = "it is done within seconds of the server's answer; see server above";
        Check::new("announced", Verdict::Warning, found, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::{FailureKind, PeerStatus, RECENT_S, identities};

    #[test]
    fn what_was_the_matter_with_certificates_long_ago_is_not_told() {
        let peer = |kind, age| PeerStatus {
            last_failure: Some(kind),
            last_failure_age_s: age,
            ..PeerStatus::default()
        };
        let is_told = |kind, age| identities(&[peer(kind, age)]).is_some();
        assert!(is_told(FailureKind::Identity, Some(RECENT_S - 1)));
        assert!(is_told(FailureKind::Identity, None));
        assert!(!is_told(FailureKind::Identity, Some(RECENT_S)));
        assert!(!is_told(FailureKind::Stalled, Some(0)));
    }
}
