//! `config_path` of two directories: what the agent says containerd does with it, containerd does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pi_agent::hosts::reach::Reach;
use system_tests::{node, on_each_release};
use testbed::{Agent, Bed, Node, Release};

use super::asked::Asked;
use super::{agent_says, edit, prepared};

on_each_release!(what_is_said_of_two_directories_is_so,);

const REGISTRY: &str = "registry.test:5000";
/// A pull that no host can serve ends well before.
const PULL: Duration = Duration::from_secs(30);

/// Directories that are there, and of those one without a file in it.
const CASES: [(&[&str], Option<&str>); 9] = [
    (&["a/_default"], None),
    (&["b/_default"], None),
    (&["b/registry.test:5000"], None),
    (&["a/_default", "b/registry.test:5000"], None),
    (&["b/_default", "b/registry.test:5000"], None),
    (&["a/registry.test_5000_", "a/registry.test:5000"], None),
    (&["a/registry.test:5000", "b/registry.test_5000_"], None),
    (&["b/registry.test_5000_", "a/_default"], None),
    (&["b/registry.test:5000"], Some("a/_default")),
];

fn what_is_said_of_two_directories_is_so(release: Release) -> Result<()> {
    let mut bed = prepared(release)?;
    let (a, b) = of_two(node(&bed, 0)?)?;
    start(&mut bed)?;
    let asked = Asked::start(&node(&bed, 0)?.host.netns)?;
    if release == Release::V2 {
        transfer_service_asks_nobody(&mut bed, &asked)?;
    }
    let node = node(&bed, 0)?;
    for (there, empty) in CASES {
        for path in there {
            asked.write(&place(node, path), path)?;
        }
        if let Some(path) = empty {
            fs::create_dir_all(place(node, path))?;
        }
        let expected = taken(node, &a)?;
        ensure!(
            first_asked(node, &asked)? == expected,
            "{there:?}, {empty:?}: {expected:?} was said to be asked"
        );
        clear(&a)?;
        clear(&b)?;
    }
    keeps_what_the_operator_has(node, &asked)
}

/// What the agent says of it, and that what it advises helps.
fn transfer_service_asks_nobody(bed: &mut Bed, asked: &Asked) -> Result<()> {
    let advised = {
        let node = node(bed, 0)?;
        for path in ["a/_default", "b/registry.test:5000"] {
            asked.write(&place(node, path), path)?;
        }
        ensure!(first_asked(node, asked)?.is_none(), "a mirror was asked");
        let said = agent_says(node, "configure", &[])?;
        let message = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(
            !said.status.success() && message.contains("transfer service"),
            "{message}"
        );
        let said = agent_says(node, "doctor", &["--server=http://127.0.0.1:1"])?;
        let doctor = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(
            said.status.code() == Some(2) && doctor.contains("BAD  config_path"),
            "{doctor}"
        );
        let (_, advised) = message.split_once("all of them:\n").context("no advice")?;
        let (advised, _) = advised.split_once("Then restart").context("no advice")?;
        advised.to_owned()
    };
    edit(node(bed, 0)?, |text| format!("{text}\n{advised}"))?;
    let containerd = &mut bed.nodes.first_mut().context("no node")?.containerd;
    containerd.stop()?;
    containerd.start()?;
    let node = node(bed, 0)?;
    ensure!(
        first_asked(node, asked)?.as_deref() == Some("a/_default"),
        "not after {advised}"
    );
    let (a, b) = roots(node);
    clear(&a)?;
    clear(&b)
}

/// A registry that is known in the second directory is not hidden by an entry in the first.
fn keeps_what_the_operator_has(node: &Node, asked: &Asked) -> Result<()> {
    let own = place(node, "b/registry.test:5000");
    asked.write(&own, "own")?;
    let said = agent_says(node, "configure", &[])?;
    ensure!(
        !said.status.success(),
        "an entry that hides {} was made",
        own.display()
    );
    ensure!(
        first_asked(node, asked)?.as_deref() == Some("own"),
        "it is hidden"
    );
    let b = format!("--hosts-dir={}", roots(node).1.display());
    let said = agent_says(node, "configure", &[&b])?;
    let message = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.status.success(), "{message}");
    ensure!(
        first_asked(node, asked)?.as_deref() == Some("own"),
        "it is hidden"
    );
    // The one for all asks the agent: of a registry that nobody has said anything of.
    let text = fs::read_to_string(place(node, "b/_default/hosts.toml"))?;
    ensure!(text.contains(&Agent::mirror_url()), "{text}");
    Ok(())
}

/// Has a node's containerd, which has not been started, search two directories.
pub(super) fn of_two(node: &Node) -> Result<(PathBuf, PathBuf)> {
    let (a, b) = roots(node);
    fs::create_dir(&b)?;
    let list = format!("{}:{}", a.display(), b.display());
    edit(node, |text| {
        text.replace(
            &format!("{:?}", a.display().to_string()),
            &format!("{list:?}"),
        )
    })?;
    Ok((a, b))
}

pub(super) fn start(bed: &mut Bed) -> Result<()> {
    let node = bed.nodes.first_mut().context("no node")?;
    node.containerd.start()
}

fn roots(node: &Node) -> (PathBuf, PathBuf) {
    let a = node.containerd.hosts_directory();
    let b = a.with_file_name("docker-certs.d");
    (a, b)
}

fn place(node: &Node, path: &str) -> PathBuf {
    let (a, b) = roots(node);
    match path.split_once('/') {
        Some(("a", name)) => a.join(name),
        Some((_, name)) => b.join(name),
        None => b,
    }
}

/// The directory that the agent takes containerd to take, as `a/NAME` or `b/NAME`; nothing where it
/// has no file.
fn taken(node: &Node, a: &Path) -> Result<Option<String>> {
    let version = node.containerd.version()?;
    let release = version
        .split_whitespace()
        .find_map(|word| word.parse().ok());
    ensure!(release.is_some(), "no release in {version:?}");
    let reach = Reach::read(&node.containerd.config_file(), a, release)?;
    let taken = reach.taken(REGISTRY).filter(|(file, _)| file.is_file());
    Ok(taken.and_then(|(file, root)| {
        let name = file.parent()?.file_name()?.to_str()?.to_owned();
        let root = if root == a { "a" } else { "b" };
        Some(format!("{root}/{name}"))
    }))
}

fn first_asked(node: &Node, asked: &Asked) -> Result<Option<String>> {
    let cri = node.containerd.cri();
    let pulled = cri.pull(&format!("{REGISTRY}/lib/app:v1"), PULL);
    ensure!(pulled.is_err(), "nobody has it");
    Ok(asked.first())
}

fn clear(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)? {
        fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}
