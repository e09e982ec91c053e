//! The chart rendered by Helm.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Whether the chart's schema of values is heeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schema {
    /// It is.
    InForce,
    /// It is not.
    Skipped,
}

/// What the values make of the chart, or why Helm refuses them.
///
/// # Errors
///
/// When there is no Helm.
pub fn render(values: &Value, schema: Schema) -> Result<Result<String, String>> {
    let mut helm = Command::new(helm()?);
    helm.args(["template", "piccolo", "--namespace", "piccolo-system"])
        .args(["--values", "-"])
        .arg(root().join("deploy/chart"))
        .env_remove("KUBECONFIG");
    if schema == Schema::Skipped {
        helm.arg("--skip-schema-validation");
    }
    helm.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = helm.spawn().context("starting helm")?;
    let mut input = child.stdin.take().context("helm has no input")?;
    input
        .write_all(values.to_string().as_bytes())
        .context("telling helm the values")?;
    drop(input);
    let output = child.wait_with_output().context("waiting for helm")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    })
}

/// The workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn helm() -> Result<PathBuf> {
    let helm = root().join("target/deploy-tools/bin/helm");
    ensure!(
        helm.exists(),
        "{} is not there: `cargo xtask test` installs it, or `cargo xtask deploy`",
        helm.display()
    );
    Ok(helm)
}
