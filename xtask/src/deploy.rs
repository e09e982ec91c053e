//! Keeps what `deploy/` holds honest: renders the chart into plain manifests, and checks chart,
//! manifests, rules and units without a cluster.

mod manifests;
mod rules;
mod schema;
mod tools;
mod units;
mod values;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use tools::Tools;

/// Writes the plain manifests anew from the chart.
///
/// # Errors
///
/// When a tool is missing or the chart does not render.
pub(crate) fn render() -> Result<()> {
    let root = root()?;
    manifests::write(&Tools::ready(&root)?, &root)
}

/// Checks all of `deploy/` that can be judged without a cluster.
///
/// # Errors
///
/// What is wrong, and where.
pub(crate) fn check() -> Result<()> {
    let root = root()?;
    let tools = Tools::ready(&root)?;
    values::check(&tools, &root).context("the chart")?;
    manifests::check(&tools, &root).context("the plain manifests")?;
    schema::check(&tools, &root).context("the rendered objects")?;
    rules::check(&root).context("the rules for Prometheus")?;
    units::check(&root).context("the systemd units")
}

fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("xtask has no directory above it")?.to_owned())
}
