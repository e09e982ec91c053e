//! Nothing that a bed made outlives it, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use system_tests::bed;
use testbed::{Release, Run, wait_until};

const CLEANED: Duration = Duration::from_secs(30);

/// What there still is of a run.
fn leftovers(run: &str) -> Vec<String> {
    let mut found = named(Path::new("/run/netns"), run);
    found.extend(named(Path::new("/var/tmp"), run));
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        found.extend(named(Path::new(root), run));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(run))
            .map(str::to_owned),
    );
    found.extend(processes(run));
    found
}

fn named(directory: &Path, run: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.path().display().to_string());
    names.filter(|name| name.contains(run)).collect()
}

/// Programs with the run's name in their command line or their working directory.
fn processes(run: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let shown = entries.filter_map(|entry| {
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let place = fs::read_link(entry.path().join("cwd")).ok()?;
        Some(format!(
            "{} in {}",
            String::from_utf8_lossy(&command),
            place.display()
        ))
    });
    shown.filter(|shown| shown.contains(run)).collect()
}

fn assert_cleaned(run: &str) -> Result<()> {
    // The cleaner of a killed program works after it.
    let waited = wait_until("the run to be cleaned", CLEANED, || {
        Ok(leftovers(run).is_empty().then_some(()))
    });
    waited.with_context(|| leftovers(run).join("\n"))
}

/// A bed in a program of its own, and its name.
fn held_bed() -> Result<(Child, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hold-bed"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting hold-bed")?;
    let mut name = String::new();
    let output = child.stdout.take().context("hold-bed has no output")?;
    BufReader::new(output).read_line(&mut name)?;
    let name = name.trim().to_owned();
    assert!(
        name.starts_with("pcl-"),
        "hold-bed did not come up: {name:?}"
    );
    assert!(
        leftovers(&name).len() > 5,
        "a bed that is up cannot be seen: {name}"
    );
    Ok((child, name))
}

fn send(child: &Child, signal: &str) -> Result<()> {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()?;
    assert!(status.success(), "kill {signal} failed");
    Ok(())
}

#[test]
fn a_dropped_bed_leaves_nothing() -> Result<()> {
    let bed = bed(Release::Installed, &[1])?;
    let name = bed.run().name().to_owned();
    assert!(
        leftovers(&name).len() > 5,
        "a bed that is up cannot be seen"
    );
    drop(bed);
    assert_eq!(leftovers(&name), Vec::<String>::new());
    Ok(())
}

#[test]
fn an_interrupted_program_leaves_nothing() -> Result<()> {
    for signal in ["-INT", "-TERM"] {
        let (mut child, name) = held_bed()?;
        send(&child, signal)?;
        child.wait()?;
        assert_eq!(leftovers(&name), Vec::<String>::new(), "after {signal}");
    }
    Ok(())
}

#[test]
fn a_killed_program_leaves_nothing() -> Result<()> {
    let (mut child, name) = held_bed()?;
    send(&child, "-KILL")?;
    child.wait()?;
    assert_cleaned(&name)
}

#[test]
fn the_next_run_cleans_up_when_even_the_cleaner_was_killed() -> Result<()> {
    let (mut child, name) = held_bed()?;
    for cleaner in cleaners(&name) {
        let status = Command::new("kill").args(["-KILL", &cleaner]).status()?;
        assert!(status.success(), "killing the cleaner failed");
    }
    send(&child, "-KILL")?;
    child.wait()?;
    assert!(!leftovers(&name).is_empty(), "somebody else has cleaned up");
    Run::sweep()?;
    assert_eq!(leftovers(&name), Vec::<String>::new());
    Ok(())
}

fn cleaners(run: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| {
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        let is_cleaner = command.contains("testbed-cleaner") && command.contains(run);
        is_cleaner.then(|| entry.file_name().to_string_lossy().into_owned())
    });
    ids.collect()
}

#[test]
fn a_kept_run_stays_until_it_is_swept() -> Result<()> {
    let run = Run::start()?;
    let name = run.name().to_owned();
    run.keep()?;
    drop(run);
    Run::sweep()?;
    assert!(!leftovers(&name).is_empty(), "a kept run was swept away");
    Run::sweep_kept()?;
    assert_eq!(leftovers(&name), Vec::<String>::new());
    Ok(())
}
