//! The rendered objects against the schemas of Kubernetes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    manifests, scratch,
    tools::{self, ToolOutput, Tools},
    values,
};

/// The oldest that the chart supports, one in the middle, the newest with published schemas.
const VERSIONS: [&str; 3] = ["1.30", "1.33", "1.37"];

/// Kinds of the Prometheus operator, whose schemas do not come with Kubernetes.
const FOREIGN: &str = "monitoring.coreos.com/v1";

/// Checks the plain manifests, and what each set of values renders.
pub(super) fn check(tools: &Tools, root: &Path) -> Result<()> {
    let files = rendered(tools, root)?;
    for version in VERSIONS {
        let ToolOutput { ok, stdout, stderr } =
            tools::outcome(tools.validator(version).args(&files))?;
        let report = stdout + &stderr;
        ensure!(
            ok,
            "Kubernetes {version} would refuse:\n{}",
            complaints(&report).join("\n")
        );
        let unknown: Vec<_> = complaints(&report)
            .into_iter()
            .filter(|line| !line.contains(FOREIGN))
            .collect();
        ensure!(
            unknown.is_empty(),
            "Kubernetes {version} does not know:\n{}",
            unknown.join("\n")
        );
    }
    bites(tools, root)
}

/// A check that lets everything pass would go unnoticed.
fn bites(tools: &Tools, root: &Path) -> Result<()> {
    let manifest = manifests::directory(root).join("piccolo.yaml");
    let text = fs::read_to_string(&manifest).context("reading piccolo.yaml")?;
    let file = scratch(root)?.join("misspelt.yaml");
    fs::write(&file, text.replace("hostNetwork:", "hostNetwerk:")).context("misspelling")?;
    let ToolOutput { ok, .. } = tools::outcome(tools.validator(VERSIONS[0]).arg(&file))?;
    ensure!(!ok, "the schemas let a misspelt field pass");
    Ok(())
}

fn rendered(tools: &Tools, root: &Path) -> Result<Vec<PathBuf>> {
    let scratch = scratch(root)?;
    let mut files: Vec<_> = manifests::MANIFESTS
        .iter()
        .map(|manifest| manifests::directory(root).join(manifest.name))
        .collect();
    for (number, values) in values::GOOD.iter().enumerate() {
        let mut helm = tools.helm();
        helm.args(["template", "piccolo"])
            .arg(root.join("deploy/chart"));
        helm.args(values.iter().flat_map(|value| ["--set", value]));
        let file = scratch.join(format!("values-{number}.yaml"));
        fs::write(&file, tools::run(&mut helm)?).context("writing what was rendered")?;
        files.push(file);
    }
    Ok(files)
}

fn complaints(report: &str) -> Vec<&str> {
    report
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("INFO "))
        .collect()
}
