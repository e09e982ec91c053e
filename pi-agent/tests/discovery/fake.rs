//! A server that writes down what it is told and answers what it is set to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use parking_lot::Mutex;
use piccolo_api::{
    Ack, AdvertiseRequest, FindKeyQuery, FindKeyReply, FindReply, FindRequest, Found, Holder,
    KeepaliveRequest, LeaveRequest, Mates, Peer, PeerState, ProgressReply, ProgressRequest,
    Standing, TagReply, TagRequest, Turn, Verdict, path,
};
use tokio::net::TcpListener;

/// A call that arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Sync(AdvertiseRequest),
    Advertise(AdvertiseRequest),
    Keepalive(KeepaliveRequest),
    Leave(LeaveRequest),
    Find(Vec<String>),
    Progress(ProgressRequest),
    Tag(TagRequest),
    FindKey(String),
}

/// How the server behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Knows only the five calls of the Go server.
    pub(crate) go: bool,
    /// Asks for the whole set at the next change.
    pub(crate) resync: bool,
    /// Answers this many changes with an error.
    pub(crate) failing: u32,
    /// Takes this many whole sets and answers with an error all the same.
    pub(crate) losing: u32,
    /// Has too much to do for this many finds.
    pub(crate) busy: u32,
    /// Takes the agent for no holder, with this status.
    pub(crate) refused: Option<u16>,
    /// Who has everything.
    pub(crate) holders: Vec<String>,
    /// Answers no finds and reports.
    pub(crate) away: bool,
    /// Who is in the rack of an agent that asks for it.
    pub(crate) rack: Vec<Holder>,
    /// What it says of tags, one after the other, the last one for ever; an older server says nothing.
    pub(crate) tags: Vec<TagReply>,
    /// The interval of keepalives that it asks for.
    pub(crate) keepalive_ms: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FakeServer {
    calls: Arc<Mutex<Vec<Call>>>,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
}

impl FakeServer {
    /// Serves on a port of its own until the test's runtime ends.
    pub(crate) async fn start(behaviour: Behaviour) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (Self::serve(listener, behaviour), format!("http://{addr}"))
    }

    /// Serves on a port where nobody was before.
    pub(crate) async fn start_at(addr: SocketAddr, behaviour: Behaviour) -> Self {
        Self::serve(TcpListener::bind(addr).await.unwrap(), behaviour)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's runtime ends with the test"
    )]
    fn serve(listener: TcpListener, behaviour: Behaviour) -> Self {
        let server = Self {
            calls: Arc::default(),
            behaviour: Arc::new(Mutex::new(behaviour)),
        };
        let mut router = Router::new()
            .route(path::SYNC, post(sync))
            .route(path::ADVERTISE, post(advertise))
            .route(path::KEEPALIVE, post(keepalive))
            .route(path::FIND_KEY, get(find_key))
            .route(path::HEALTH, get(|| async { "{\"message\":\"ok\"}" }));
        if !server.behaviour.lock().go {
            if !server.behaviour.lock().tags.is_empty() {
                router = router.route(path::TAG, post(tag));
            }
            router = router
                .route(path::FIND, post(find))
                .route(path::PROGRESS, post(progress))
                .route(path::LEAVE, post(leave));
        }
        let router = router.layer(DefaultBodyLimit::max(4 << 20));
        let router = router.with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// Waits for a call that `want` recognises; gives what it makes of it.
    pub(crate) async fn wait_for<T>(&self, what: &str, want: impl Fn(&Call) -> Option<T>) -> T {
        let end = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(found) = self.calls().iter().find_map(&want) {
                return found;
            }
            let now = tokio::time::Instant::now();
            assert!(now < end, "no {what} among {:#?}", self.calls());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn note(&self, call: Call) {
        self.calls.lock().push(call);
    }

    fn ack(&self, may_resync: bool) -> impl IntoResponse + use<> {
        self.ack_with(may_resync, None)
    }

    fn ack_with(&self, may_resync: bool, mates: Option<Mates>) -> impl IntoResponse + use<> {
        let mut behaviour = self.behaviour.lock();
        let resync = may_resync && std::mem::take(&mut behaviour.resync);
        let message = "Distribution created!".to_owned();
        (
            StatusCode::CREATED,
            Json(Ack {
                success: !resync,
                message,
                resync,
                mates,
                keepalive_ms: behaviour.keepalive_ms,
            }),
        )
    }

    fn peers(&self) -> Vec<Peer> {
        let behaviour = self.behaviour.lock();
        let peer = |holder: &String| Peer {
            addr: holder.parse().unwrap(),
            rack: "r1".to_owned(),
            state: PeerState::Complete,
            score: 1.0,
        };
        behaviour.holders.iter().map(peer).collect()
    }
}

async fn sync(State(s): State<FakeServer>, Json(b): Json<AdvertiseRequest>) -> impl IntoResponse {
    if !s.behaviour.lock().go && b.keys.len() > 20_000 {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    s.note(Call::Sync(b));
    let losing = {
        let mut behaviour = s.behaviour.lock();
        let losing = behaviour.losing > 0;
        behaviour.losing = behaviour.losing.saturating_sub(1);
        losing
    };
    if losing {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    s.ack(false).into_response()
}

async fn advertise(
    State(s): State<FakeServer>,
    Json(b): Json<AdvertiseRequest>,
) -> impl IntoResponse {
    let failing = {
        let mut behaviour = s.behaviour.lock();
        let failing = behaviour.failing > 0;
        behaviour.failing = behaviour.failing.saturating_sub(1);
        failing
    };
    if failing {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    s.note(Call::Advertise(b));
    s.ack(true).into_response()
}

async fn keepalive(
    State(s): State<FakeServer>,
    Json(b): Json<serde_json::Value>,
) -> impl IntoResponse {
    let request = piccolo_api::from_any_case(b).unwrap();
    let request: KeepaliveRequest = request;
    let mates = request.mates.map(|_| Mates {
        version: 7,
        holders: s.behaviour.lock().rack.clone(),
    });
    s.note(Call::Keepalive(request));
    s.ack_with(true, mates)
}

async fn leave(State(s): State<FakeServer>, Json(b): Json<serde_json::Value>) -> impl IntoResponse {
    s.note(Call::Leave(piccolo_api::from_any_case(b).unwrap()));
    s.ack(false)
}

async fn find(State(s): State<FakeServer>, Json(b): Json<FindRequest>) -> impl IntoResponse {
    s.note(Call::Find(b.keys.clone()));
    {
        let mut behaviour = s.behaviour.lock();
        if behaviour.away {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        if behaviour.busy > 0 {
            behaviour.busy -= 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        if let Some(status) = behaviour.refused.filter(|_| b.intent.is_some()) {
            let says = Json(serde_json::json!({"error": "not here"}));
            return (StatusCode::from_u16(status).unwrap(), says).into_response();
        }
    }
    let verdict = Verdict::Permit { lease_ms: 3000 };
    let turn = Turn {
        rank: None,
        verdict,
    };
    let found = |key: String| Found {
        swarm: b.intent.map(|_| turn.clone()),
        key,
        peers: s.peers(),
    };
    let results = b.keys.into_iter().map(found).collect();
    Json(FindReply {
        group: b.group,
        results,
    })
    .into_response()
}

async fn progress(
    State(s): State<FakeServer>,
    Json(b): Json<ProgressRequest>,
) -> impl IntoResponse {
    let results = b.fetches.iter().map(|_| Standing::Permit).collect();
    s.note(Call::Progress(b));
    if s.behaviour.lock().away {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    Json(ProgressReply { results }).into_response()
}

async fn tag(State(s): State<FakeServer>, Json(b): Json<TagRequest>) -> impl IntoResponse {
    let is_told = b.said.is_some();
    s.note(Call::Tag(b));
    let mut behaviour = s.behaviour.lock();
    Json(if is_told {
        TagReply::Alone
    } else if behaviour.tags.len() > 1 {
        behaviour.tags.remove(0)
    } else {
        behaviour.tags[0].clone()
    })
}

async fn find_key(State(s): State<FakeServer>, Query(q): Query<FindKeyQuery>) -> impl IntoResponse {
    s.note(Call::FindKey(q.key.clone()));
    let holders = s.behaviour.lock().holders.clone();
    if holders.is_empty() {
        let reply = serde_json::json!({"message": "nobody"});
        return (StatusCode::NOT_FOUND, Json(reply)).into_response();
    }
    let (key, group, total) = (q.key, q.group, holders.len());
    Json(FindKeyReply {
        key,
        group,
        holders,
        total,
        peers: Vec::new(),
    })
    .into_response()
}
