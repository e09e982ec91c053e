//! The program as a process, and what the tests ask it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use daemon::client::JsonClient;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(10);

/// A running server; dropping it kills it.
pub(crate) struct Program {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    client: JsonClient,
}

impl Program {
    /// A server over a database file in that directory.
    pub(crate) fn start(directory: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_piccolo-server"))
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
            ])
            .arg(format!("--state-dir={}", directory.display()))
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("listening"))
            .expect("the server says where it listens");
        // The rest goes to the test's own log.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
            }
        });
        let address = |name: &str| {
            let (_, rest) = listening.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (api, admin) = (address(" api="), address("admin="));
        Self {
            api,
            admin,
            child,
            client: JsonClient::new(DEADLINE),
        }
    }

    pub(crate) async fn ready(self) -> Self {
        for _ in 0..400 {
            if self.page("/readyz").await.starts_with("ready") {
                return self;
            }
            pause().await;
        }
        panic!("the server does not become ready");
    }

    /// From the admin listener; nothing when nobody answers.
    pub(crate) async fn page(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin);
        let reply = self.client.get(&url, DEADLINE).await;
        reply.map_or_else(
            |_| String::new(),
            |reply| String::from_utf8_lossy(&reply.body).into_owned(),
        )
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.api);
        let reply = self.client.get(&url, DEADLINE).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{path}: {:?}", reply.body);
        reply.json().unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) {
        let url = format!("http://{}{path}", self.api);
        let reply = self.client.post(&url, body, DEADLINE).await.unwrap();
        assert_eq!(reply.status.as_u16(), 201, "{path}: {:?}", reply.body);
    }

    pub(crate) async fn advertise(&self, holder: &str, keys: &[&str]) {
        let call = json!({"holder": holder, "keys": keys, "group": "g"});
        self.post(piccolo_api::path::ADVERTISE, &call).await;
    }

    /// The holders in the order of the answer.
    pub(crate) async fn ranked(&self, key: &str, host: &str, count: u32) -> Vec<String> {
        let query = format!("key={key}&group=g&count={count}&request_host={host}");
        let path = piccolo_api::path::FIND_KEY;
        let reply = self.get(&format!("{path}?{query}")).await;
        let holders = reply["holders"].as_array().unwrap().iter();
        holders.map(|h| h.as_str().unwrap().to_owned()).collect()
    }

    /// The name of the rack of an address.
    pub(crate) async fn rack(&self, ip: &str) -> String {
        let path = piccolo_api::path::LOCATE;
        let located = self.get(&format!("{path}?ip={ip}")).await;
        located["rack"].as_str().unwrap().to_owned()
    }

    /// The value of a series of the metrics, 0 where it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = self.page("/metrics").await;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Asks it to end and waits for that.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
    }

    /// Runs another command of the program against it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let server = format!("--server=http://{}", self.api);
        let arguments: Vec<&str> = arguments.iter().copied().chain([server.as_str()]).collect();
        run(&arguments)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_piccolo-server"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What it printed; it has to have ended well.
pub(crate) fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}

/// A node's keepalive that reports what it received from a peer: a rate in megabytes a second, for
/// ten seconds.
pub(crate) fn received(host: &str, peer: &str, megabytes: u64) -> Value {
    let bytes = megabytes * 10_000_000;
    json!({
        "host": host, "Group": "g",
        "observations": [{
            "peer": peer, "interval_ms": 10_000,
            "received": {"bytes": bytes, "rated_bytes": bytes, "busy_us": 10_000_000},
            "sent": {"bytes": 0, "rated_bytes": 0, "busy_us": 0},
        }],
    })
}
