//! An agent that is told of a directory that is not containerd's content store.

use anyhow::{Context, Result, ensure};
use system_tests::{APP, node, on_each_release, pull, push_app};
use testbed::Release;

use super::{agent_says, prepared};

on_each_release!(an_empty_directory_is_not_taken_for_the_content_store,);

fn an_empty_directory_is_not_taken_for_the_content_store(release: Release) -> Result<()> {
    let mut bed = prepared(release)?;
    bed.nodes
        .first_mut()
        .context("no node")?
        .containerd
        .start()?;
    bed.set_hosts(&[bed.registry.url()])?;
    push_app(&bed)?;
    let node = node(&bed, 0)?;
    pull(node, APP)?;
    // As a kubelet makes it for a volume that names the wrong path.
    let wrong = bed.run().make_directory("not-the-content-store")?;
    let said = content_store(node, &wrong.display().to_string())?;
    let right = node.containerd.content().display().to_string();
    ensure!(
        said.starts_with("warn") && said.contains(&right) && said.contains("has no blobs"),
        "{said}"
    );
    let said = content_store(node, &right)?;
    ensure!(!said.starts_with("warn"), "{said}");
    Ok(())
}

/// What the doctor says of a content store.
fn content_store(node: &testbed::Node, path: &str) -> Result<String> {
    let path = format!("--content-path={path}");
    let said = agent_says(node, "doctor", &["--server=http://127.0.0.1:1", &path])?;
    let doctor = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = doctor.lines().find(|line| line.contains("content store: "));
    Ok(line
        .with_context(|| format!("no content store in {doctor}"))?
        .to_owned())
}
