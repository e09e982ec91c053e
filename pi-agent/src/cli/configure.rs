//! `pi-agent configure`: containerd's mirror files.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Result, bail};
use daemon::telemetry::chain;

use crate::{
    config::Configure,
    hosts::{
        Capabilities,
        block::Mirror,
        config,
        place::{Done, Place, PlaceError},
    },
};

/// Writes the mirror files, or takes the agent out of them. Each registry's file is written in one
/// step; one that cannot be written does not keep the others from it.
///
/// # Errors
/// When containerd would not read the files, or one of them could not be brought into shape.
pub fn run(settings: &Configure) -> Result<ExitCode> {
    if !settings.remove
        && let Err(error) = config::check(&settings.containerd_config, &settings.hosts_dir)
    {
        if !settings.force {
            bail!("nothing was written.\n{}", chain(&error));
        }
        super::print(&format!("warning: {}\n", chain(&error)))?;
    }
    let mirror = Mirror {
        url: settings.mirror_url.clone(),
        capabilities: if settings.resolve_tags {
            Capabilities::PullAndResolve
        } else {
            Capabilities::Pull
        },
    };
    let mut failures = String::new();
    for registry in &settings.registry {
        let place = Place::new(&settings.hosts_dir, registry);
        let result = if settings.remove {
            place.remove()
        } else {
            place.add(&mirror)
        };
        match result {
            Ok(done) => {
                super::print(&format!("{}: {}\n", place.file().display(), describe(done)))?;
            }
            Err(error) => note(&mut failures, &error),
        }
    }
    if failures.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        bail!("{}", failures.trim_end());
    }
}

fn note(failures: &mut String, error: &PlaceError) {
    // Writing to a String cannot fail.
    let _ = writeln!(failures, "{}", chain(error));
}

fn describe(done: Done) -> &'static str {
    match done {
        Done::Written => "the agent is the first host",
        Done::Unchanged => "nothing to do",
        Done::Restored => "as it was before",
        Done::Removed => "removed, as there was none before",
    }
}
