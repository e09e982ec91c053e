//! `pi-agent configure`: containerd's mirror files.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use daemon::telemetry::chain;

use crate::{
    config::Configure,
    containerd::Containerd,
    hosts::{
        Capabilities,
        entries::{Entries, EntryOutcome},
        place::Done,
        reach::Reach,
    },
    keeper::{self, Answer},
};

/// Deadline for the process behind the mirror's port to identify itself.
const DEADLINE: Duration = Duration::from_secs(3);

/// Writes the mirror files, or takes the agent out of them. Each registry's file is written in one
/// step; one that cannot be written does not keep the others from it.
///
/// # Errors
/// When containerd would not read the files, when another program than an agent would be asked, or
/// when one of them could not be brought into shape.
pub async fn run(settings: &Configure) -> Result<ExitCode> {
    let mut entries = settings
        .hosts
        .entries(Capabilities::of(settings.resolve_tags));
    if settings.remove {
        return finish(entries.withdraw(), describe);
    }
    entries.release = Containerd::release(&settings.containerd_socket).await;
    match entries.check() {
        Ok(reach) => warn(&reach)?,
        Err(error) => object(settings, &chain(&error).to_string())?,
    }
    answered(settings, &entries).await?;
    if settings.check {
        finish(entries.rehearse(), foresee)
    } else {
        finish(entries.publish(), describe)
    }
}

/// Problems that do not prevent the change.
fn warn(reach: &Reach) -> Result<()> {
    if reach.discards() {
        super::print(
            "warning: containerd discards layers after unpacking, so that this node has nothing for \
             its peers: set discard_unpacked_layers = false, see docs/distributions.md\n",
        )?;
    }
    if let Some(doubt) = reach.doubt() {
        super::print(&format!(
            "warning: containerd did not say its release. If it is 2.1 or later: {doubt}\n"
        ))?;
    }
    Ok(())
}

/// Makes sure that no other program has the mirror's port: a pull might wait for it.
async fn answered(settings: &Configure, entries: &Entries) -> Result<()> {
    let url = &entries.mirror.url;
    let answer = keeper::ask(url, DEADLINE).await;
    match &answer {
        Answer::Agent(_) => Ok(()),
        Answer::Nobody(_) if settings.check => Ok(()),
        Answer::Nobody(_) => super::print(&format!("note: at {url} {answer}\n")).map(drop),
        Answer::Other(_) | Answer::Silence(_) => object(
            settings,
            &format!(
                "at {url}: {answer}; pulls would wait for it or fail. End the program that has the \
                 port (`ss -ltnp` names it), or give the agent another one with --mirror-listen and \
                 --mirror-url"
            ),
        ),
    }
}

/// Problems that prevent the change, unless `--force` is given.
fn object(settings: &Configure, why: &str) -> Result<()> {
    if settings.force {
        super::print(&format!("warning: {why}\n")).map(drop)
    } else {
        bail!("nothing was written.\n{why}");
    }
}

fn finish(outcomes: Vec<EntryOutcome>, describe: fn(Done) -> &'static str) -> Result<ExitCode> {
    let mut failures = String::new();
    for EntryOutcome { file, result } in outcomes {
        match result {
            Ok(done) => drop(super::print(&format!(
                "{}: {}\n",
                file.display(),
                describe(done)
            ))?),
            Err(error) => {
                // Writing to a String cannot fail.
                let _ = writeln!(failures, "{}", chain(&error));
            }
        }
    }
    if failures.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        bail!("{}", failures.trim_end());
    }
}

fn describe(done: Done) -> &'static str {
    match done {
        Done::Written => "the agent is the first host",
        Done::Unchanged => "nothing to do",
        Done::Restored => "as it was before",
        Done::Removed => "removed, as there was none before",
    }
}

fn foresee(done: Done) -> &'static str {
    match done {
        Done::Written => "the agent will be the first host",
        Done::Unchanged | Done::Restored | Done::Removed => "the agent is the first host",
    }
}
