//! `cargo xtask test --kubernetes DIR`: the chart on a real Kubernetes of two nodes.
//!
//! It is run by hand: apt has no packages of Kubernetes, and building it takes long.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use testbed::{KubePrograms, Run};

use crate::cli::KubernetesOptions;
use crate::deploy::Tools;
use crate::dist::{Arch, Facts};
use crate::setup::{self, BUILD, DEMO, DEPLOY, KUBERNETES, TESTS, as_root};
use crate::{image, shell, workspace};

mod cases;
mod chart;
mod objects;
mod operator;
mod stage;

use cases::{CASES, Case};
use chart::Chart;
use stage::Stage;

/// The images under test, by program.
struct Images {
    files: [(&'static str, PathBuf); 2],
    tag: String,
}

/// Installs, builds, starts a cluster, and tries one case after the other.
pub(crate) fn run(directory: &Path, options: &KubernetesOptions, filter: &[String]) -> Result<()> {
    let chosen = choose(filter)?;
    let programs = KubePrograms::find(directory)?;
    if !options.built {
        setup::packages(&[BUILD, DEMO, TESTS, DEPLOY, KUBERNETES])?;
        if options.release {
            image::run(&[Arch::native()?], "localhost")?;
        } else {
            image::run_debug("localhost")?;
        }
    }
    if setup::is_root() {
        return try_all(&programs, options.release, &chosen)
            .inspect_err(|_| testbed::stop_if_interrupted());
    }
    // Built as the invoking user, tried as root.
    let own = std::env::current_exe().context("finding this program")?;
    let mut again = as_root(&own.to_string_lossy())?;
    again
        .args(["test", "--built", "--kubernetes"])
        .arg(directory)
        .args(options.release.then_some("--release"))
        .args(filter);
    shell::run(&mut again)
}

/// The cases whose names contain one of the words.
fn choose(filter: &[String]) -> Result<Vec<&'static Case>> {
    let is_chosen = |case: &&Case| {
        filter.is_empty() || filter.iter().any(|word| case.name.contains(word.as_str()))
    };
    let chosen: Vec<_> = CASES.iter().filter(is_chosen).collect();
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    ensure!(
        !chosen.is_empty(),
        "no case is called so; there are: {}",
        names.join(", ")
    );
    Ok(chosen)
}

fn try_all(programs: &KubePrograms, is_release: bool, chosen: &[&Case]) -> Result<()> {
    let images = Images::find(is_release)?;
    let root = workspace::root()?;
    let tools = Tools::ready(&root)?;
    let version = programs.version();
    let run = Run::start()?;
    run.end_on_signals()?;
    let kind = if is_release { "release" } else { "development" };
    say(&format!(
        "Kubernetes {version}, the {kind} build's images ({})",
        run.name()
    ));
    let start = Instant::now();
    let chart = Chart::fit(&root.join("deploy/chart"), &run, version)?;
    for dropped in chart.dropped() {
        say(&format!("on this Kubernetes without {dropped}"));
    }
    let mut stage = Stage::build(&run, programs, &images, chart, tools.helm_program())?;
    say(&format!(
        "{}, two nodes, ready after {:.1} s",
        stage.runtime(),
        start.elapsed().as_secs_f64()
    ));
    let mut failed = 0;
    for case in chosen {
        failed += usize::from(!try_one(&mut stage, case));
    }
    drop(stage);
    run.end()?;
    let passed = chosen.len() - failed;
    say(&format!("{passed} passed, {failed} failed"));
    ensure!(failed == 0, "the chart does not do what it should");
    Ok(())
}

/// Whether it passed, which it says.
fn try_one(stage: &mut Stage, case: &Case) -> bool {
    let start = Instant::now();
    let outcome = (case.run)(stage);
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(found) => {
            let found = found.join("; ");
            say(&format!("ok   {:<22} {seconds:>6.1} s  {found}", case.name));
            true
        }
        Err(error) => {
            testbed::stop_if_interrupted();
            say(&format!(
                "FAIL {:<22} {seconds:>6.1} s  {error:#}",
                case.name
            ));
            say(&stage.describe());
            stage.distrust();
            false
        }
    }
}

impl Images {
    fn find(is_release: bool) -> Result<Self> {
        let facts = Facts::gather()?;
        let output = Facts::output()?;
        let files = ["pi-agent", "piccolo-server"].map(|program| {
            let version = if is_release { facts.version } else { "debug" };
            (program, output.join(format!("{program}-{version}.oci.tar")))
        });
        Ok(Self {
            files,
            tag: facts.version.to_owned(),
        })
    }
}

/// A line of the report, to standard output.
fn say(line: &str) {
    // Ignored: standard output is closed.
    let _ = writeln!(io::stdout().lock(), "{line}");
}
