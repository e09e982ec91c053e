//! The simulation as a person starts it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Figures {
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    policy: String,
    registry_copies: f64,
    copies_into_rack: f64,
    p50_of_solo: f64,
    p99_over_p50: f64,
}

fn simulate(file: Option<&Path>, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("simulate").args(arguments);
    if let Some(file) = file {
        command.arg("--json").arg(file);
    }
    command.output().context("starting xtask")
}

#[test]
fn the_figures_are_written_and_the_same_again() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let arguments = [
        "--nodes", "160", "--racks", "4", "--size", "256MiB", "--die", "0.02",
    ];
    let mut written = Vec::new();
    for name in ["a", "b"] {
        let file = directory.path().join(name);
        let output = simulate(Some(&file), &arguments)?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        written.push((output.stdout, std::fs::read(&file)?));
    }
    let [first, second] = written.as_slice() else {
        anyhow::bail!("two runs were asked for");
    };
    assert_eq!(first, second, "the same seed gives the same");
    let figures: Figures = serde_json::from_slice(&first.1)?;
    let table = String::from_utf8_lossy(&first.0);
    assert_eq!(figures.runs.len(), 4, "{figures:?}");
    for run in &figures.runs {
        assert!(table.contains(&run.policy), "{table}");
        assert!(run.p50_of_solo > 0.0 && run.p99_over_p50 >= 1.0, "{run:?}");
    }
    let swarm = figures.runs.iter().find(|run| run.policy == "swarm");
    let swarm = swarm.context("no run of the product's own rules")?;
    assert!(swarm.registry_copies <= 1.01, "{swarm:?}");
    assert!(swarm.copies_into_rack <= 1.05, "{swarm:?}");
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_in_plain_words() -> Result<()> {
    for (arguments, says) in [
        (&["--size", "1GiX"][..], "\"GiX\" in \"1GiX\" is no unit"),
        (
            &["--nodes", "10", "--racks", "11"],
            "the number of racks is 11",
        ),
        (
            &["--nodes", "10", "--cut", "7"],
            "rack 7 is cut off, and there are 1",
        ),
        (&["--policy", "swarms"], "invalid value 'swarms'"),
    ] {
        let output = simulate(None, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(says),
            "{arguments:?}: {said}"
        );
    }
    Ok(())
}
