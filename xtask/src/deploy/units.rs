//! systemd's own judgement of the units.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::tools::{self, ToolOutput};

const UNITS: [&str; 2] = ["pi-agent.service", "piccolo-server.service"];

/// Where the units expect the programs.
const PROGRAMS: &str = "/usr/local/bin/";

/// Verifies the units. They are checked with stand-ins for the programs, which need not be
/// installed here.
pub(super) fn check(root: &Path) -> Result<()> {
    let scratch = super::scratch(root)?.join("systemd");
    fs::create_dir_all(&scratch).context("making a scratch directory")?;
    let stand_in = scratch.join("program");
    fs::write(&stand_in, "#!/bin/sh\n").context("writing a stand-in")?;
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).context("a stand-in")?;
    for unit in UNITS {
        let text = fs::read_to_string(root.join("deploy/systemd").join(unit))
            .with_context(|| format!("reading {unit}"))?;
        let program = unit.trim_end_matches(".service");
        let installed = format!("{PROGRAMS}{program}");
        ensure!(
            text.contains(&installed),
            "{unit} does not start {installed}"
        );
        // A panic aborts the process; systemd starts it again.
        ensure!(
            text.lines().any(|line| line == "Restart=always"),
            "{unit} has no line Restart=always: nothing starts it again after a panic"
        );
        let copy = scratch.join(unit);
        fs::write(
            &copy,
            text.replace(&installed, &stand_in.display().to_string()),
        )
        .with_context(|| format!("copying {unit}"))?;
        let mut verify = Command::new("systemd-analyze");
        let ToolOutput { ok, stderr, .. } =
            tools::outcome(verify.args(["verify", "--man=no"]).arg(&copy))?;
        // Where it runs in a container it also speaks of the machine's own units.
        let ours: Vec<_> = stderr.lines().filter(|line| line.contains(unit)).collect();
        ensure!(ok && ours.is_empty(), "{unit}:\n{stderr}");
    }
    Ok(())
}
