//! The commands for operators.

use std::fs;

use piccolo_api::path;

use crate::program::{Program, printed, received, run};

const LAB: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/topology/two-rack-lab.yaml"
);

#[test]
fn check_tells_every_mistake_with_its_place() {
    let output = run(&["topology", "check", LAB]);
    assert!(printed(&output).contains("2 places with 2 prefixes"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    fs::write(
        &file,
        "tree:\n  - nam: a\n  - {name: b, cidrs: [10.0.0.1/24]}\n",
    )
    .unwrap();
    let output = run(&["topology", "check", file.to_str().unwrap()]);
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    for part in ["2:5", "nam", "3:", "10.0.0.0/24"] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    let output = run(&["topology", "check", "/nowhere/at/all"]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/nowhere/at/all")
    );
}

#[test]
fn the_schema_is_the_published_one() {
    let published = fs::read_to_string(LAB.replace("two-rack-lab.yaml", "topology.schema.json"));
    assert_eq!(printed(&run(&["topology", "schema"])), published.unwrap());
}

#[test]
fn a_file_alone_locates_and_explains() {
    let file = format!("--topology={LAB}");
    let located = printed(&run(&["topology", "locate", &file, "192.168.1.7"]));
    assert_eq!(located, "192.168.1.7 is in left (192.168.1.0/24)\n");
    let located = printed(&run(&["topology", "locate", &file, "10.0.0.1"]));
    assert!(
        located.contains("10.0.0.0/24") && located.contains("guessed"),
        "{located}"
    );
    let explained = printed(&run(&[
        "topology",
        "explain",
        &file,
        "--from=192.168.1.7",
        "--to=192.168.2.1,192.168.1.9",
    ]));
    let first = explained.lines().next().unwrap();
    assert!(
        first.starts_with("1. 192.168.1.9:7787 in left: score 0."),
        "{explained}"
    );
    assert!(
        explained.contains("1 Gbit/s: declared 1 Gbit/s"),
        "{explained}"
    );
}

#[tokio::test]
async fn a_running_server_is_asked() {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &[]).ready().await;
    for holder in ["10.0.1.1:7787", "10.0.1.2:7787", "10.0.2.1:7787"] {
        server.advertise(holder, &["k"]).await;
    }
    let report = received("10.0.1.1:7787", "10.0.2.1", 50);
    server.post(path::KEEPALIVE, &report).await;
    let located = printed(&server.command(&["topology", "locate", "10.0.1.9"]));
    assert!(
        located.starts_with("10.0.1.9 is in 10.0.1.0/24"),
        "{located}"
    );

    let matrix = printed(&server.command(&["topology", "matrix"]));
    let rows: Vec<Vec<&str>> = matrix
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["from", "\\", "to", "10.0.1.0/24", "10.0.2.0/24"]);
    assert_eq!(rows[1], ["10.0.1.0/24", "(10G)", "(10G)"], "{matrix}");
    assert!(
        rows[2][1].ends_with('M') || rows[2][1].ends_with('G'),
        "{matrix}"
    );
    assert!(!rows[2][1].contains('('), "measured: {matrix}");
    let coloured = printed(&server.command(&["topology", "matrix", "--color=always"]));
    assert!(coloured.contains("\x1b[38;5;"));

    let asked = ["topology", "explain", "--from=10.0.1.9"];
    let by_address = [&asked[..], &["--to", "10.0.2.1", "10.0.1.1"]].concat();
    let explained = printed(&server.command(&by_address));
    assert!(explained.contains("observed 400 Mbit/s"), "{explained}");
    let by_key = [&asked[..], &["--key=k", "--group=g"]].concat();
    let explained = printed(&server.command(&by_key));
    assert_eq!(explained.matches("score").count(), 3, "{explained}");

    let suggested = printed(&server.command(&["topology", "suggest"]));
    let file = state.path().join("suggested.yaml");
    fs::write(&file, &suggested).unwrap();
    printed(&run(&["topology", "check", file.to_str().unwrap()]));
    assert!(suggested.contains("10.0.2.0/24"), "{suggested}");

    let tree = server.get(path::TOPOLOGY).await;
    assert_eq!(tree["racks"]["10.0.1.0/24"]["hosts"], 2, "{tree}");
}

#[tokio::test]
async fn no_server_is_said_plainly() {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &[]).ready().await;
    server.signal("KILL");
    let output = server.command(&["topology", "matrix"]);
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("--server"), "{errors}");
}
