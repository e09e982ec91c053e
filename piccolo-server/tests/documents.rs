//! The references under `docs/` say what the program says.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

fn says(command: &str) -> String {
    let program = env!("CARGO_BIN_EXE_piccolo-server");
    let output = Command::new(program).arg(command).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_references_are_up_to_date() {
    for (command, file) in [
        ("metrics-doc", "metrics.md"),
        ("settings-doc", "settings.md"),
    ] {
        let path = format!("{}/../docs/{file}", env!("CARGO_MANIFEST_DIR"));
        assert!(
            std::fs::read_to_string(path)
                .unwrap()
                .contains(says(command).trim_end()),
            "docs/{file} is stale: run `cargo xtask docs`"
        );
    }
}

/// A running server with an empty database; dropping it ends it.
struct Server {
    child: Child,
    api: SocketAddr,
    admin: SocketAddr,
    _state: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_piccolo-server"))
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
            ])
            .arg(format!("--state-dir={}", state.path().display()))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let bound = lines.find_map(|line| line.ok().filter(|line| line.contains(" listening ")));
        let bound = bound.expect("it says where it listens");
        // Its further lines have to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| {
            let (_, rest) = bound.split_once(&format!(" {name}=")).unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        Self {
            api: address("api"),
            admin: address("admin"),
            child,
            _state: state,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_scrape_has_what_the_reference_names_and_nothing_else() {
    let reference = says("metrics-doc");
    let rows = reference.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`');
        Some((name, (cells.next()?, cells.next()?.is_empty())))
    });
    let documented: BTreeMap<_, _> = rows.collect();
    let server = Server::start();
    let find = "/api/v1/distribution/findkey?key=a&group=g";
    assert!(get(server.api, find).starts_with("HTTP/1.1 404"));
    let scrape = get(server.admin, "/metrics");
    let shown: BTreeMap<_, _> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    for (name, kind) in &shown {
        let row = documented.get(name);
        let (documented, _) = row.unwrap_or_else(|| panic!("{name} is not in the reference"));
        assert_eq!(documented, kind, "{name}");
    }
    for (name, (_, always)) in documented {
        assert!(!always || shown.contains_key(name), "{name}: {scrape}");
    }
}
