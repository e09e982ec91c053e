//! The server's own process, for what only a process can suffer.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use daemon::client::JsonClient;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

/// A running server. Dropping it kills it, as a crash would.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    pub(crate) client: JsonClient,
    /// Lines of its log that were not taken yet.
    lines: Arc<Mutex<Vec<String>>>,
}

/// The program with these arguments.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_piccolo-server"));
    command.args(arguments);
    command
}

impl Process {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_by(program(&[]), flags)
    }

    /// [`Process::start`] by a command that becomes the server.
    #[expect(clippy::print_stderr, reason = "the server's log is the test's")]
    pub(crate) fn start_by(mut command: Command, flags: &[&str]) -> Self {
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut child = command
            .args(listen)
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut log = BufReader::new(child.stderr.take().expect("a log"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a first line");
        let (api, admin) = (address(&line, "api="), address(&line, "admin="));
        // What is not read would stop the server one day.
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
                kept.lock().push(line);
            }
        });
        Self {
            api,
            admin,
            child,
            client: JsonClient::new(DEADLINE),
            lines,
        }
    }

    /// What it has logged since the last time.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock())
    }

    /// [`Process::start`], with its log in a file.
    pub(crate) fn start_logging(flags: &[&str], log: &Path) -> Self {
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let child = program(&listen)
            .args(flags)
            .stderr(File::create(log).expect("a file"))
            .spawn()
            .expect("the server starts");
        let begin = Instant::now();
        let line = loop {
            let text = std::fs::read_to_string(log).expect("the log");
            if let Some((line, _)) = text.split_once('\n') {
                break line.to_owned();
            }
            assert!(begin.elapsed() < DEADLINE, "the server says nothing");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self {
            api: address(&line, "api="),
            admin: address(&line, "admin="),
            child,
            client: JsonClient::new(DEADLINE),
            lines: Arc::default(),
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it that signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process"), signal).expect("it is sent");
    }

    /// Ends it as a supervisor does.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.ask_to_end();
        self.end()
    }

    /// As a supervisor does.
    pub(crate) fn ask_to_end(&self) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.child.wait().expect("an end")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<u16> {
        let url = format!("http://{}{path}", self.api);
        let reply = self.client.post(&url, body, DEADLINE).await.ok()?;
        Some(reply.status.as_u16())
    }

    /// Whether a change was taken.
    pub(crate) async fn acknowledged(&self, path: &str, body: &Value) -> bool {
        let url = format!("http://{}{path}", self.api);
        let Ok(reply) = self.client.post(&url, body, DEADLINE).await else {
            return false;
        };
        let ack: Value = reply.json().unwrap_or_default();
        reply.status.as_u16() == 201 && ack["success"] == true
    }

    /// Advertises one key; gives the status, or nothing where there was no reply.
    pub(crate) async fn advertise(&self, holder: &str, key: &str) -> Option<u16> {
        let call = json!({"holder": holder, "keys": [key], "group": "g"});
        self.post(piccolo_api::path::ADVERTISE, &call).await
    }

    /// The status of a find, or nothing where there was no reply.
    pub(crate) async fn find(&self, key: &str) -> Option<u16> {
        let query = format!("key={key}&group=g&request_host=10.255.0.1");
        let path = piccolo_api::path::FIND_KEY;
        let url = format!("http://{}{path}?{query}", self.api);
        let reply = self.client.get(&url, DEADLINE).await.ok()?;
        Some(reply.status.as_u16())
    }

    /// From the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let reply = self.client.get(&url, DEADLINE).await.expect("a reply");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        (reply.status.as_u16(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(line: &str, name: &str) -> SocketAddr {
    let (_, rest) = line
        .split_once(name)
        .unwrap_or_else(|| panic!("no {name} in {line:?}"));
    let end = rest.find([' ', '\n']).unwrap_or(rest.len());
    rest[..end]
        .parse()
        .unwrap_or_else(|e| panic!("{e}: {line:?}"))
}
