//! What the signer calls of Kubernetes: tokens, pods, nodes, a Secret and a ConfigMap, over HTTPS.

use std::{collections::HashMap, fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use daemon::{
    clock::Clock,
    scope::Scope,
    serve::{self, Limits},
    tls::{Files, Mode, Role, Tls},
};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::Authority;
use tokio::net::TcpListener;

/// The signer's own token.
const OWN: &str = "the-signers";
/// Where the test's pods are.
pub(crate) const NAMESPACE: &str = "piccolo";
const LIMITS: Limits = Limits {
    connections: 256,
    head: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    per_address: 256,
    counts_as: serve::network,
    dropped: |_| {},
};

/// An API server; dropping it ends it.
pub(crate) struct Kubernetes {
    pub(crate) world: Arc<Mutex<World>>,
    address: SocketAddr,
    directory: TempDir,
    scope: Scope,
}

/// What there is in the cluster.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// What a review says of each token.
    pub(crate) tokens: HashMap<String, Value>,
    /// By `pods/NAME`, `nodes/NAME`, `secrets/NAME`, `configmaps/NAME`.
    pub(crate) objects: HashMap<String, Value>,
    /// Answers nothing but errors.
    pub(crate) is_away: bool,
    /// How long it takes for each call.
    pub(crate) takes: Duration,
    /// How often tokens were looked at.
    pub(crate) reviews: u32,
    version: u64,
}

impl Kubernetes {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::within(directory.path()).expect("an authority");
        let own = authority
            .identify(
                "api",
                "spiffe://k/piccolo/server/api",
                &[[127, 0, 0, 1].into()],
            )
            .expect("a certificate");
        fs::write(directory.path().join("token"), OWN).expect("writing");
        let files = Files {
            certificate: own.certificate,
            key: own.key,
            authorities: authority.certificate(),
            seen: None,
        };
        let tls = Tls::load(
            Mode::Required,
            Some(files),
            &[Role::Server],
            Clock::system(),
        )
        .expect("it can be used");
        let world = Arc::new(Mutex::new(World::default()));
        {
            let mut world = world.lock();
            for object in ["secrets/authority", "configmaps/public"] {
                world.put(object, json!({"metadata": {"labels": {"kept": "yes"}}}));
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .route("/api/v1/nodes/{name}", get(node))
            .route(
                "/api/v1/namespaces/{namespace}/{kind}/{name}",
                get(read).put(replace),
            )
            .layer(from_fn_with_state(Arc::clone(&world), take_time))
            .with_state(Arc::clone(&world));
        let (scope, _deaths) = Scope::new();
        scope.service(
            "api",
            serve::serve(listener, router, tls, LIMITS, scope.clone()),
        );
        Self {
            world,
            address,
            directory,
            scope,
        }
    }

    /// A file of this test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How a signer finds it.
    pub(crate) fn flags(&self) -> Vec<String> {
        vec![
            format!("--api=https://{}", self.address),
            format!("--api-token={}", self.file("token").display()),
            format!("--api-ca={}", self.file("ca.crt").display()),
        ]
    }

    /// A pod of a service account, and the token that it has: `token-NAME`.
    pub(crate) fn pod(&self, name: &str, account: &str, pod: &Value) -> String {
        let token = format!("token-{name}");
        let uid = format!("uid-{name}");
        let mut world = self.world.lock();
        let mut object = json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid},
            "spec": {"serviceAccountName": account, "nodeName": "n-1", "hostNetwork": true},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
        });
        merge(&mut object, pod);
        world.put(&format!("pods/{name}"), object);
        let status = json!({
            "authenticated": true,
            "audiences": ["piccolo"],
            "user": {
                "username": format!("system:serviceaccount:{NAMESPACE}:{account}"),
                "extra": {
                    "authentication.kubernetes.io/pod-name": [name],
                    "authentication.kubernetes.io/pod-uid": [uid],
                },
            },
        });
        world.tokens.insert(token.clone(), status);
        token
    }

    pub(crate) fn node(&self, name: &str, addresses: &[(&str, &str)]) {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(kind, address)| json!({"type": kind, "address": address}))
            .collect();
        let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
        self.world.lock().put(&format!("nodes/{name}"), node);
    }

    /// What the ConfigMap has pods trust, also as a file of that name.
    pub(crate) fn trusted(&self, file: &str) -> String {
        let world = self.world.lock();
        let trusted = world.objects["configmaps/public"]["data"]["ca.crt"].as_str();
        let trusted = trusted.unwrap_or_default().to_owned();
        fs::write(self.file(file), &trusted).expect("writing");
        trusted
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.scope.kill();
    }
}

impl World {
    /// Puts an object there, with a new version.
    pub(crate) fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object);
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let own = format!("Bearer {OWN}");
        if self.is_away {
            return Err(failed(StatusCode::SERVICE_UNAVAILABLE, "etcd is away"));
        }
        if headers
            .get(header::AUTHORIZATION)
            .is_none_or(|said| *said != *own)
        {
            return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
        }
        Ok(())
    }

    fn read(&self, path: &str, headers: &HeaderMap) -> Answer {
        match (self.check(headers), self.objects.get(path)) {
            (Err(answer), _) => answer,
            (Ok(()), Some(object)) => (StatusCode::OK, Json(object.clone())),
            (Ok(()), None) => failed(StatusCode::NOT_FOUND, "not found"),
        }
    }
}

type Shared = State<Arc<Mutex<World>>>;
type Answer = (StatusCode, Json<Value>);

fn failed(status: StatusCode, message: &str) -> Answer {
    (status, Json(json!({"kind": "Status", "message": message})))
}

async fn take_time(State(world): Shared, call: Request, next: Next) -> Response {
    let takes = world.lock().takes;
    tokio::time::sleep(takes).await;
    next.run(call).await
}

async fn review(State(world): Shared, headers: HeaderMap, Json(call): Json<Value>) -> Answer {
    let mut world = world.lock();
    if let Err(answer) = world.check(&headers) {
        return answer;
    }
    world.reviews += 1;
    assert_eq!(call["spec"]["audiences"], json!(["piccolo"]));
    let token = call["spec"]["token"].as_str().unwrap_or_default();
    let unknown = || {
        let error = format!("invalid bearer token {token}, token audiences are invalid");
        json!({"authenticated": false, "error": error})
    };
    let status = world.tokens.get(token).cloned().unwrap_or_else(unknown);
    (StatusCode::CREATED, Json(json!({"status": status})))
}

async fn node(State(world): Shared, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    world.lock().read(&format!("nodes/{name}"), &headers)
}

async fn read(
    State(world): Shared,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    assert_eq!(namespace, NAMESPACE);
    world.lock().read(&format!("{kind}/{name}"), &headers)
}

async fn replace(
    State(world): Shared,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(object): Json<Value>,
) -> Answer {
    assert_eq!(namespace, NAMESPACE);
    let path = format!("{kind}/{name}");
    let mut world = world.lock();
    let (status, Json(there)) = world.read(&path, &headers);
    if status != StatusCode::OK {
        return (status, Json(there));
    }
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    if version(&object) != version(&there) {
        return failed(StatusCode::CONFLICT, "the object has been modified");
    }
    world.put(&path, object);
    (StatusCode::OK, Json(world.objects[&path].clone()))
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
