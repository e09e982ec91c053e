//! The admin endpoint: what both processes have, and `GET /status`.

mod readers;
mod totals;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use daemon::{
    clock::Clock,
    readiness::Readiness,
    scope::Scope,
    serve,
    tls::{Gate, Tls},
};
use metrics_exporter_prometheus::PrometheusHandle;
use piccolo_api::Rank;
use tokio::net::TcpListener;

use crate::{
    content::Content,
    discovery::Discovery,
    ebpf::{Accounting, Need},
    fetch::{Fetcher, MemberView},
    keeper::Report,
    peer::PeerServer,
    sockets::{PeerBytes, PeerTotals},
    status::{Addresses, PeerStatus, QuarantineStatus, Status, SwarmBlob, SwarmStatus, TagsStatus},
};

/// What the admin endpoint looks at.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) addresses: Addresses,
    pub(crate) hosts: Report,
    pub(crate) group: String,
    /// Who may look from other hosts.
    pub(crate) tls: Tls,
    /// The token that they may show.
    pub(crate) token: Option<PathBuf>,
    pub(crate) started: Duration,
    pub(crate) clock: Clock,
    pub(crate) content: Content,
    pub(crate) discovery: Discovery,
    pub(crate) accounting: Arc<Accounting>,
    /// What this process has of what the accounting needs, which does not change.
    pub(crate) needs: Vec<Need>,
    pub(crate) fetcher: Fetcher,
    /// What it does about tags, which does not change.
    pub(crate) tags: TagsStatus,
    pub(crate) peers: PeerServer,
    pub(crate) bytes: PeerBytes,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: PrometheusHandle,
}

/// Serves until the scope drains.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, scope: Scope) {
    let probes = daemon::admin::probes(admin.readiness.clone());
    let metrics = daemon::admin::metrics(admin.metrics.clone());
    let tls = admin.tls.clone();
    let gate = Gate::new(tls.clone(), admin.token.clone());
    let admin = Arc::new(admin);
    let guarded: Router = metrics
        .route("/status", get(status).with_state(Arc::clone(&admin)))
        .route_layer(middleware::from_fn_with_state(admin, refresh))
        .route_layer(middleware::from_fn_with_state(gate, readers::admit));
    // Probes come without TLS.
    let tls = tls.also_plain();
    serve::serve(
        listener,
        probes.merge(guarded),
        tls,
        daemon::admin::LIMITS,
        scope,
    )
    .await;
}

/// Refreshes the counters before a request that shows them.
async fn refresh(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let scraped = request.uri().path() == "/metrics";
    if !scraped && request.uri().path() != "/status" {
        return next.run(request).await;
    }
    let look = move || look(&admin.accounting, &admin.discovery);
    // It fails only where the runtime ends.
    let peers = tokio::task::spawn_blocking(look).await.unwrap_or_default();
    let response = next.run(request).await;
    if scraped {
        followed_by(response, &peers).await
    } else {
        response
    }
}

/// Reads the counters of peers, if that was not just done, and names the peers' racks. Gives the
/// peers' metrics.
fn look(accounting: &Accounting, discovery: &Discovery) -> String {
    accounting.refresh(Instant::now);
    accounting.show_racks(|peer| discovery.rack(peer));
    accounting.page()
}

/// The peers' metrics after all others.
async fn followed_by(response: Response, peers: &str) -> Response {
    let (head, body) = response.into_parts();
    // It is this process's own, and in memory already.
    let page = axum::body::to_bytes(body, usize::MAX).await;
    let page = [page.unwrap_or_default().as_ref(), peers.as_bytes()].concat();
    Response::from_parts(head, page.into())
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    let slots = admin.peers.slots();
    let quarantines = admin
        .fetcher
        .quarantines()
        .into_iter()
        .map(|q| QuarantineStatus {
            peer: q.peer.to_string(),
            digest: q.digest,
            ends_in_seconds: q.ends_in_seconds,
        });
    let count = |n| u64::try_from(n).unwrap_or(u64::MAX);
    Json(Status {
        version: daemon::VERSION.to_owned(),
        uptime_seconds: admin.clock.now().saturating_sub(admin.started).as_secs(),
        ready: admin.readiness.is_ready(),
        group: admin.group.clone(),
        tls: admin.tls.mode().as_str().to_owned(),
        holder: admin.discovery.holder().map(|holder| holder.to_string()),
        addresses: admin.addresses,
        hosts: admin.hosts.status(),
        content: admin.content.overview(),
        servers: admin.discovery.servers(),
        standing: admin.discovery.standing(),
        mirror: totals::read(&admin.metrics.render()),
        accounting: admin.accounting.mode(),
        accounting_needs: admin.needs.clone(),
        peers: peers(&admin),
        quarantines: quarantines.collect(),
        swarm: swarm(&admin),
        tags: admin.tags.clone(),
        uploads: count(slots.taken),
        upload_slots: count(slots.size),
    })
}

/// What it fetches together with others, whom it takes it from, and whom it feeds.
fn swarm(admin: &Admin) -> SwarmStatus {
    let (on, members) = admin.fetcher.crowds();
    let blob = |member: MemberView| {
        let fed = admin.peers.fed(&member.digest);
        SwarmBlob {
            bytes: member.bytes,
            total: member.total,
            rank: member.rank.map(|rank| {
                let Rank { epoch, rack, place } = rank;
                format!("{epoch}.{rack}.{place}")
            }),
            takes_from: member.sources.first().map(ToString::to_string),
            takes_also_from: member
                .sources
                .iter()
                .skip(1)
                .map(ToString::to_string)
                .collect(),
            permit: member.permit,
            slow: member.slow,
            waiting_seconds: member.waits.map(|waits| waits.as_secs_f64()),
            feeds: fed.iter().map(IpAddr::to_string).collect(),
            digest: member.digest.to_string(),
        }
    };
    SwarmStatus {
        on,
        rack_mates: admin.discovery.rack_mates(),
        blobs: members.into_iter().map(blob).collect(),
    }
}

/// What the data path moved, with what the kernel measured.
fn peers(admin: &Admin) -> Vec<PeerStatus> {
    let mut peers: BTreeMap<IpAddr, PeerStatus> = BTreeMap::new();
    let exchanged = admin.bytes.snapshot().into_iter();
    // The agent's self-test connection carries no payload.
    for (ip, totals) in exchanged.filter(|(_, totals)| *totals != PeerTotals::default()) {
        let peer = peers.entry(ip).or_default();
        peer.received_bytes = totals.received.body;
        peer.sent_bytes = totals.sent.body;
        peer.received_http_bytes = totals.received.total();
        peer.sent_http_bytes = totals.sent.total();
        peer.received_tls_bytes = totals.received.tls;
        peer.sent_tls_bytes = totals.sent.tls;
    }
    for view in admin.accounting.peers() {
        let peer = peers.entry(view.address).or_default();
        peer.received_tcp_bytes = view.received.bytes;
        peer.sent_tcp_bytes = view.sent.bytes;
        peer.receive_rate = view.received.rate;
        peer.send_rate = view.sent.rate;
        peer.receive_throughput = view.received.throughput;
        peer.send_throughput = view.sent.throughput;
        peer.retransmits = view.retransmits;
        peer.rtt_us = view.rtt_us;
    }
    for (ip, failures) in admin.discovery.failures() {
        let peer = peers.entry(ip).or_default();
        peer.failures = failures.count;
        peer.last_failure = Some(failures.last);
        peer.last_failure_age_s = Some(failures.at.elapsed().as_secs());
    }
    let named = peers.into_iter().map(|(ip, peer)| PeerStatus {
        addr: ip.to_string(),
        rack: admin.discovery.rack(ip),
        ..peer
    });
    named.collect()
}
