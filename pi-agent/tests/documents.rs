//! The references under `docs/` say what the program says, and the program what it does.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pi-agent");

/// A running agent without containerd and without a server.
struct Agent {
    child: Child,
    mirror: SocketAddr,
    admin: SocketAddr,
    _content: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let content = tempfile::tempdir().unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["run", "--server=http://127.0.0.1:1", "--accounting=off"])
            .args(["--advertise-address=192.0.2.1", "--drain=1"])
            .args(["--mirror-listen=127.0.0.1:0", "--peer-listen=127.0.0.1:0"])
            .args(["--admin-listen=127.0.0.1:0", "--containerd-socket=/nowhere"])
            .arg(format!("--content-path={}", content.path().display()))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let bound = lines.find_map(|line| line.ok().filter(|line| line.contains(" bound ")));
        let bound = bound.expect("it says where it listens");
        // Its further lines have to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| {
            let (_, rest) = bound.split_once(&format!(" {name}=")).unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        Self {
            mirror: address("mirror"),
            admin: address("admin"),
            child,
            _content: content,
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It says where it listens a moment before it does.
fn connect(address: SocketAddr) -> TcpStream {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn says(command: &str) -> String {
    let output = Command::new(PROGRAM).arg(command).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn page(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Rows of a reference: the first cell without its quotes, and the others.
fn rows(table: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let mut cells = cells(line);
            let name = cells.remove(0).trim_matches('`').to_owned();
            (name, cells)
        })
        .collect()
}

#[test]
fn the_references_are_up_to_date() {
    for (command, file) in [
        ("metrics-doc", "metrics.md"),
        ("settings-doc", "settings.md"),
    ] {
        assert!(
            page(file).contains(says(command).trim_end()),
            "docs/{file} is stale: run `cargo xtask docs`"
        );
    }
}

#[test]
fn every_flag_is_explained_and_can_be_set_in_the_environment() {
    let settings = says("settings-doc");
    for command in ["run", "configure", "status", "peers", "doctor"] {
        assert!(settings.contains(&format!("### `pi-agent {command}`")));
    }
    for (flag, cells) in rows(&settings) {
        assert!(flag.starts_with("--"), "{flag}");
        let one_off = ["--json", "--once", "--remove", "--force"].contains(&flag.as_str());
        assert_eq!(cells[0].is_empty(), one_off, "{flag}: {cells:?}");
        assert!(cells[2].len() > 10, "{flag}: {cells:?}");
    }
}

#[test]
fn a_scrape_has_what_the_reference_names_and_nothing_else() {
    let documented = rows(&says("metrics-doc"));
    let agent = Agent::start();
    let missing = format!("/v2/lib/a/blobs/sha256:{}?ns=registry.test", "0".repeat(64));
    assert!(get(agent.mirror, &missing).starts_with("HTTP/1.1 404"));
    let scrape = get(agent.admin, "/metrics");
    let shown: BTreeMap<_, _> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    for (name, kind) in &shown {
        let row = documented.get(*name);
        let row = row.unwrap_or_else(|| panic!("{name} is not in the reference"));
        assert_eq!(row[0], *kind, "{name}");
        assert!(
            scrape.contains(&format!("# HELP {name} {}", row[2])),
            "{name}"
        );
    }
    for (name, row) in &documented {
        if row[1].is_empty() {
            assert!(
                shown.contains_key(name.as_str()),
                "{name} is missing: {scrape}"
            );
        }
    }
    for series in [
        r#"piccolo_agent_mirror_requests_total{kind="blob",outcome="miss"} 1"#,
        r#"piccolo_agent_finds_total{outcome="no_server"} 1"#,
        r#"piccolo_agent_server_breaker_open{server="http://127.0.0.1:1"} 1"#,
    ] {
        assert!(scrape.contains(series), "no {series} in {scrape}");
    }
}
