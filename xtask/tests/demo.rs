//! The demo as a person starts it, and as a person stops it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Figures {
    registry_copies: f64,
    copies_into_rack: f64,
    registry_bytes_with: u64,
    registry_bytes_without: u64,
    image_bytes: u64,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    rack: String,
    seconds: f64,
    from_registry: u64,
    from_peers: BTreeMap<String, u64>,
}

fn demo() -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"));
    demo.args(["demo", "--built"]);
    demo
}

#[test]
fn one_copy_leaves_the_registry() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("figures.json");
    let output = demo().arg("--json").arg(&file).output()?;
    let table = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}{said}");

    let figures: Figures = serde_json::from_slice(&std::fs::read(&file)?)?;
    assert!(figures.registry_copies <= 1.05, "{figures:?}");
    assert!(figures.copies_into_rack <= 1.2, "{figures:?}");
    let Figures {
        registry_bytes_with: with,
        registry_bytes_without: without,
        image_bytes: image,
        nodes,
        ..
    } = &figures;
    assert!(*image > 190_000_000, "{figures:?}");
    assert!(with * 100 <= image * 105, "{figures:?}");
    assert!(*without >= 4 * image, "{figures:?}");
    assert_eq!(nodes.len(), 4, "{figures:?}");
    let registry: u64 = nodes.iter().map(|node| node.from_registry).sum();
    assert_eq!(registry, *with, "{figures:?}");
    for node in nodes {
        let peers: u64 = node.from_peers.values().sum();
        assert!(peers + node.from_registry >= *image, "{node:?}");
        assert!(node.seconds > 0.0, "{node:?}");
        let line = table.lines().find(|line| line.starts_with(&node.name));
        let line = line.with_context(|| format!("{} is not in the table: {table}", node.name))?;
        assert!(line.contains(&node.rack), "{line}");
    }
    Ok(())
}

/// The bed's own tests show that a run that is ended leaves nothing; this one that an interrupt
/// ends it, with nothing said but that.
#[test]
fn an_interrupt_ends_it_quietly() -> Result<()> {
    let mut child = demo()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().context("no standard error")?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        let is_pulling = line.contains("n1   ");
        said += &line;
        if is_pulling {
            break;
        }
    }
    let name = said
        .split(['(', ')'])
        .find(|word| word.starts_with("pcl-"))
        .with_context(|| format!("the run has no name: {said}"))?
        .to_owned();
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT)?;
    let rest: Vec<String> = lines.collect::<Result<_, _>>()?;
    let status = child.wait()?;
    assert_eq!(status.code(), Some(130), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("interrupted")),
        "{rest:?}"
    );
    assert!(!rest.iter().any(|line| line.contains("error")), "{rest:?}");
    let directory = std::path::Path::new("/var/tmp").join(name);
    assert!(!directory.exists(), "{} is left", directory.display());
    Ok(())
}
