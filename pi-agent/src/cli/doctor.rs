//! `pi-agent doctor`: checks of this node, each with how to mend it.

mod agent;
mod chart;
mod containerd;
mod kernel;
mod mirrors;
mod private;
mod server;
mod swarm;
mod tags;

use std::process::ExitCode;

use anyhow::Result;
use daemon::clock::Clock;
use serde::Serialize;

use super::{json, print, query};
use crate::config::{self, Manager};

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at.
    name: String,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do; empty if all is well.
    remedy: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// Pulls work, but not as well as they could.
    Warning,
    /// Images do not come from peers.
    Bad,
}

/// Checks and prints. The exit code says the worst: 0 all is well, 1 a warning, 2 bad.
///
/// # Errors
/// When the result cannot be printed.
pub async fn run(settings: &config::Doctor) -> Result<ExitCode> {
    let status = query::status(&settings.query).await;
    let mut checks = agent::checks(&status).await;
    let status = status.ok();
    checks.extend(containerd::checks(settings, status.as_ref()).await);
    checks.extend(mirrors::checks(settings).await);
    checks.extend(server::checks(settings, status.as_ref(), &Clock::system()).await);
    checks.extend(swarm::checks(settings, status.as_ref()).await);
    checks.extend(tags::checks(settings, status.as_ref()).await);
    checks.extend(private::checks(status.as_ref()));
    checks.extend(kernel::checks(settings, status.as_ref()));
    if settings.managed_by == Manager::Chart {
        for check in &mut checks {
            check.remedy = chart::advice(&check.remedy);
        }
    }
    let worst = checks.iter().map(|check| check.verdict).max();
    print(&if settings.query.json {
        json(&checks)?
    } else {
        text(&checks)
    })?;
    Ok(match worst {
        None | Some(Verdict::Good) => ExitCode::SUCCESS,
        Some(Verdict::Warning) => ExitCode::from(1),
        Some(Verdict::Bad) => ExitCode::from(2),
    })
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let sign = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Bad => "BAD ",
        };
        text += sign;
        text.push(' ');
        text += &check.name;
        text += ": ";
        text += &check.found.replace('\n', "\n     ");
        text.push('\n');
        if !check.remedy.is_empty() {
            text += "     -> ";
            text += &check.remedy.replace('\n', "\n        ");
            text.push('\n');
        }
    }
    let count = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let (bad, warnings) = (count(Verdict::Bad), count(Verdict::Warning));
    text + &format!(
        "{} checks: {bad} bad, {warnings} with a warning\n",
        checks.len()
    )
}

impl Check {
    fn good(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Good, found, "")
    }

    fn new(
        name: impl Into<String>,
        verdict: Verdict,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            verdict,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}
