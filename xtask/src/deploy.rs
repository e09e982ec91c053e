//! Renders the chart into plain manifests, and checks chart, manifests, rules and units without a
//! cluster.

mod manifests;
mod rules;
mod schema;
mod tools;
mod units;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    setup::{self, DEPLOY},
    workspace,
};
pub(crate) use tools::Tools;

/// Renders the plain manifests from the chart.
///
/// # Errors
///
/// When a tool is missing or the chart does not render.
pub(crate) fn render() -> Result<()> {
    setup::packages(&[DEPLOY])?;
    let root = workspace::root()?;
    manifests::write(&Tools::ready(&root)?, &root)
}

/// Checks all of `deploy/` that can be judged without a cluster.
///
/// # Errors
///
/// What is wrong, and where.
pub(crate) fn check() -> Result<()> {
    setup::packages(&[DEPLOY])?;
    let root = workspace::root()?;
    let tools = Tools::ready(&root)?;
    values::check(&tools, &root).context("the chart")?;
    manifests::check(&tools, &root).context("the plain manifests")?;
    schema::check(&tools, &root).context("the rendered objects")?;
    rules::check(&root).context("the rules for Prometheus")?;
    units::check(&root).context("the systemd units")
}

/// Where what is checked is put.
fn scratch(root: &Path) -> Result<PathBuf> {
    let scratch = root.join("target/deploy-check");
    fs::create_dir_all(&scratch).context("making a scratch directory")?;
    Ok(scratch)
}
