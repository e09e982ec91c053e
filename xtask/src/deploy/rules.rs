//! Prometheus' own judgement of the rules and of their unit tests.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::tools;

/// Checks the rules and runs their tests.
pub(super) fn check(root: &Path) -> Result<()> {
    let promtool = || {
        let mut promtool = Command::new("promtool");
        promtool.current_dir(root.join("deploy/prometheus"));
        promtool
    };
    tools::run(promtool().args(["check", "rules", "rules.yaml"]))?;
    tools::run(promtool().args(["test", "rules", "rules.test.yaml"]))?;
    Ok(())
}
