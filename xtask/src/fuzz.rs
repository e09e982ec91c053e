//! `cargo xtask fuzz`: gives the targets in `fuzz/` to libFuzzer.
//!
//! They are built by the workspace's own toolchain. Its crates are instrumented (`fuzz/instrument`), and what
//! they depend on is the same as for the tests, and built once for both. A brief run has crates that are not: what
//! they report differs from run to run where a hash map is seeded or threads are, and libFuzzer goes by it.

mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::report::Report;
use crate::setup::{self, BUILD};
use crate::shell::{self, say};
use crate::workspace;

/// How the targets are run.
#[derive(Clone, Debug, Args)]
pub(crate) struct FuzzOptions {
    /// The target, a directory below `fuzz/corpus`; all of them where none is named.
    target: Option<String>,
    /// Runs the target once, on this file: what has made it fail, say.
    input: Option<PathBuf>,
    /// How long each target is run.
    #[arg(long, value_name = "NUMBER", default_value_t = 60, conflicts_with_all = ["input", "merge"])]
    seconds: u64,
    /// Replaces the committed inputs by the fewest of them, and of those that were found, that reach as much.
    #[arg(long, conflicts_with = "input")]
    merge: bool,
    /// Gives each target the same inputs in each run, made of the committed ones: what the tests do.
    #[arg(long, conflicts_with_all = ["input", "merge", "seconds"])]
    brief: bool,
}

/// Where the committed inputs are, a directory for each target.
const CORPUS: &str = "fuzz/corpus";
/// Words that inputs are made of.
const WORDS: &str = "fuzz/words";
/// Where inputs are kept that were found and not committed.
const FOUND: &str = "target/fuzz";
/// How many inputs a brief run gives each target: some seconds of each.
const BRIEFLY: u32 = 20_000;
/// Those that are given fewer, as one takes longer.
const FEWER: [(&str, u32); 1] = [("framing", 2_000)];
/// Bounds of a run: bytes of an input, seconds of one input, and mebibytes of the process.
const BOUNDS: [&str; 3] = ["-max_len=8192", "-timeout=25", "-rss_limit_mb=2048"];

/// Runs what was asked for.
pub(crate) fn run(options: &FuzzOptions) -> Result<()> {
    setup::packages(&[BUILD])?;
    let targets = match &options.target {
        Some(target) => vec![target.clone()],
        None => targets()?,
    };
    let effort = if options.brief {
        Effort::Brief
    } else {
        Effort::For(Duration::from_secs(options.seconds))
    };
    let fuzzer = Fuzzer::build(&effort)?;
    if let Some(input) = &options.input {
        let target = options.target.as_deref().unwrap_or_default();
        return fuzzer.repeat(target, input);
    }
    if options.merge {
        return targets.iter().try_for_each(|target| fuzzer.merge(target));
    }
    fuzzer.run_all(&targets, &effort)
}

/// Gives each target the same inputs in each run.
pub(crate) fn run_briefly() -> Result<()> {
    Fuzzer::build(&Effort::Brief)?.run_all(&targets()?, &Effort::Brief)
}

/// How much a target is run.
#[derive(Debug)]
enum Effort {
    /// For so long, from what was found before, too.
    For(Duration),
    /// With the same inputs each time, so that no test run fails for what another one has found.
    Brief,
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let directory = workspace::root()?.join(CORPUS);
    let entries = fs::read_dir(&directory).with_context(|| format!("reading {CORPUS}"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The program that has all targets in it.
struct Fuzzer {
    root: PathBuf,
    program: PathBuf,
}

impl Fuzzer {
    fn build(effort: &Effort) -> Result<Self> {
        let root = workspace::root()?;
        let mut cargo =
            workspace::cargo(&["test", "--workspace", "--test", "libfuzzer", "--no-run"])?;
        cargo.args([
            "--features",
            "fuzz/libfuzzer",
            "--message-format",
            "json-render-diagnostics",
        ]);
        let note = match effort {
            Effort::For(_) => {
                cargo.env("RUSTC_WORKSPACE_WRAPPER", root.join("fuzz/instrument"));
                "instrumented"
            }
            Effort::Brief => "not instrumented",
        };
        say(&format!(
            "$ cargo test --workspace --test libfuzzer --no-run  # {note}"
        ));
        let messages = shell::output(&mut cargo)?;
        let mut programs = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_it = message["target"]["name"] == "libfuzzer";
            message["executable"]
                .as_str()
                .filter(|_| is_it)
                .map(PathBuf::from)
        });
        let program = programs
            .next_back()
            .context("cargo names no program with the targets")?;
        Ok(Self { root, program })
    }

    fn run_all(&self, targets: &[String], effort: &Effort) -> Result<()> {
        say(&report::heading());
        let mut failed = Vec::new();
        for target in targets {
            let report = self.fuzz(target, effort)?;
            say(&report.line(target));
            if let Some(failure) = report.failure {
                failed.push((target, failure));
            }
        }
        for (target, failure) in &failed {
            failure.tell(target)?;
        }
        ensure!(
            failed.is_empty(),
            "{} of {} targets failed",
            failed.len(),
            targets.len()
        );
        Ok(())
    }

    /// Runs a target from its committed inputs, and from those that were found before.
    fn fuzz(&self, target: &str, effort: &Effort) -> Result<Report> {
        let corpus = self.corpus(target)?;
        let mut fuzzer = self.command(target);
        match effort {
            Effort::For(time) => {
                fuzzer.args([&self.found(target)?, &corpus]);
                fuzzer.arg(format!("-max_total_time={}", time.as_secs()));
            }
            Effort::Brief => {
                let fewer = FEWER.iter().find(|(name, _)| *name == target);
                let runs = fewer.map_or(BRIEFLY, |(_, runs)| *runs);
                fuzzer.arg(&corpus).env("FUZZ_SEEDS", &corpus);
                // What the target compares with what depends on hash maps as well.
                fuzzer.args(["-seed=1", "-use_cmp=0"]);
                fuzzer.arg(format!("-runs={runs}"));
            }
        }
        fuzzer
            .arg(format!(
                "-artifact_prefix={}/",
                self.crashes(target)?.display()
            ))
            .arg(format!("-dict={WORDS}"))
            .arg("-print_final_stats=1");
        let output = fuzzer
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Report::read(told, output.status))
    }

    fn repeat(&self, target: &str, input: &Path) -> Result<()> {
        let input = input
            .canonicalize()
            .with_context(|| input.display().to_string())?;
        self.corpus(target)?;
        let mut fuzzer = self.command(target);
        fuzzer.arg(input).env("RUST_BACKTRACE", "1");
        shell::run_as(&format!("the target {target}"), &mut fuzzer)
    }

    fn merge(&self, target: &str) -> Result<()> {
        let (corpus, found) = (self.corpus(target)?, self.found(target)?);
        let merged = self.root.join(FOUND).join(format!("{target}.merged"));
        if merged.exists() {
            fs::remove_dir_all(&merged)?;
        }
        fs::create_dir_all(&merged)?;
        let mut fuzzer = self.command(target);
        fuzzer
            .arg("-set_cover_merge=1")
            .args([&merged, &corpus, &found]);
        let output = fuzzer.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!(
                "merging {target}:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        fs::remove_dir_all(&corpus)?;
        fs::create_dir_all(&corpus)?;
        let mut count = 0;
        for entry in fs::read_dir(&merged)? {
            let entry = entry?;
            fs::copy(entry.path(), corpus.join(entry.file_name()))?;
            count += 1;
        }
        say(&format!("{target}: {count} inputs"));
        Ok(())
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(BOUNDS)
            .env("FUZZ_TARGET", target)
            .current_dir(&self.root);
        command
    }

    fn corpus(&self, target: &str) -> Result<PathBuf> {
        let directory = self.root.join(CORPUS).join(target);
        let all = || targets().map_or_else(|error| error.to_string(), |all| all.join(", "));
        ensure!(
            directory.is_dir(),
            "there is no target {target}; there are {}",
            all()
        );
        Ok(directory)
    }

    fn found(&self, target: &str) -> Result<PathBuf> {
        self.kept(&format!("{target}.found"))
    }

    fn crashes(&self, target: &str) -> Result<PathBuf> {
        self.kept(&format!("{target}.failed"))
    }

    fn kept(&self, name: &str) -> Result<PathBuf> {
        let directory = self.root.join(FOUND).join(name);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        Ok(directory)
    }
}
