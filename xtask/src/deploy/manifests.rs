//! The chart as plain manifests, for those who do not use Helm.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::tools::{self, Tools};

/// A manifest: its file, what it is for, and the values that make it.
pub(super) struct Manifest {
    pub(super) name: &'static str,
    purpose: &'static str,
    values: &'static [&'static str],
    only: &'static [&'static str],
}

/// The namespace that all objects are in, and where the agents may be what they are.
const NAMESPACE: &str = "---
apiVersion: v1
kind: Namespace
metadata:
  name: piccolo-system
  labels:
    pod-security.kubernetes.io/enforce: privileged
";

pub(super) const MANIFESTS: [Manifest; 5] = [
    Manifest {
        name: "piccolo.yaml",
        purpose: "agents with eBPF in privileged containers, one server with SQLite",
        values: &[],
        only: &[],
    },
    Manifest {
        name: "piccolo-capabilities.yaml",
        purpose: "agents with eBPF and three capabilities, one server with SQLite",
        values: &["agent.accounting=capabilities"],
        only: &[],
    },
    Manifest {
        name: "piccolo-off.yaml",
        purpose: "agents without eBPF, with no right but to the port of their mirror, one server with SQLite",
        values: &["agent.accounting=off"],
        only: &[],
    },
    Manifest {
        name: "piccolo-mysql.yaml",
        purpose: "as piccolo.yaml, with two servers over the database of the Secret piccolo-database",
        values: &[
            "server.replicas=2",
            "server.database.secret=piccolo-database",
        ],
        only: &[],
    },
    Manifest {
        name: "monitoring.yaml",
        purpose: "monitors, rules and dashboard, for clusters with the Prometheus operator",
        values: &["monitoring.enabled=true"],
        only: &[
            "monitoring-monitors",
            "monitoring-rules",
            "monitoring-dashboard",
        ],
    },
];

/// Writes all of them.
pub(super) fn write(tools: &Tools, root: &Path) -> Result<()> {
    let directory = directory(root);
    fs::create_dir_all(&directory).context("making the directory of the manifests")?;
    for manifest in &MANIFESTS {
        let text = manifest.text(tools, root)?;
        fs::write(directory.join(manifest.name), text)
            .with_context(|| format!("writing {}", manifest.name))?;
    }
    Ok(())
}

/// Compares all of them with what the chart gives.
pub(super) fn check(tools: &Tools, root: &Path) -> Result<()> {
    for manifest in &MANIFESTS {
        let have = fs::read_to_string(directory(root).join(manifest.name)).unwrap_or_default();
        if have != manifest.text(tools, root)? {
            bail!(
                "{} is stale; `cargo xtask deploy --render` renders it anew",
                manifest.name
            );
        }
    }
    Ok(())
}

impl Manifest {
    fn text(&self, tools: &Tools, root: &Path) -> Result<String> {
        let mut helm = tools.helm();
        helm.args(["template", "piccolo"])
            .arg(root.join("deploy/chart"));
        helm.args(["--set", "image.registry=registry.example.com/piccolo"]);
        for value in self.values {
            helm.args(["--set", value]);
        }
        for template in self.only {
            helm.args(["--show-only", &format!("templates/{template}.yaml")]);
        }
        let rendered = tools::run(&mut helm).with_context(|| format!("rendering {}", self.name))?;
        let mut text = format!(
            "# Piccolo: {}.\n# Made from deploy/chart by `cargo xtask deploy --render`. Name your registry in the image lines.\n",
            self.purpose
        );
        if self.only.is_empty() {
            text.push_str(NAMESPACE);
        }
        for line in rendered.lines().filter(|line| !is_helms(line)) {
            writeln!(text, "{line}")?;
        }
        Ok(text)
    }
}

/// Whether a line would claim that Helm looks after the object.
fn is_helms(line: &str) -> bool {
    let line = line.trim_start();
    [
        "# Source: ",
        "helm.sh/chart: ",
        "app.kubernetes.io/managed-by: ",
    ]
    .iter()
    .any(|mark| line.starts_with(mark))
}

pub(super) fn directory(root: &Path) -> std::path::PathBuf {
    root.join("deploy/manifests")
}
