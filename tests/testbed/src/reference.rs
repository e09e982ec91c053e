//! The references that the programs print of their metrics and settings, and that `docs/` repeats.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What a program prints upon one of its commands.
///
/// # Errors
///
/// When it fails.
pub fn said_by(program: &Path, command: &str) -> Result<String> {
    let output = Command::new(program).arg(command).output()?;
    ensure!(output.status.success(), "{command} fails");
    String::from_utf8(output.stdout).context("reading what it says")
}

/// Wants the pages under `docs/` to say what the program says.
///
/// # Errors
///
/// When one of them says something else.
pub fn check_pages(program: &Path, docs: &Path) -> Result<()> {
    for (command, file) in [
        ("metrics-doc", "metrics.md"),
        ("settings-doc", "settings.md"),
    ] {
        let page = fs::read_to_string(docs.join(file)).with_context(|| format!("docs/{file}"))?;
        let said = said_by(program, command)?;
        ensure!(
            page.contains(said.trim_end()),
            "docs/{file} is stale: run `cargo xtask docs`"
        );
    }
    Ok(())
}

/// The rows of a reference: what stands in the first cell, and the other cells.
pub fn rows(table: &str) -> BTreeMap<String, Vec<String>> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells = line.trim_matches('|').split(" | ");
        let mut cells = cells.map(|cell| cell.trim().to_owned());
        let name = cells.next().unwrap_or_default();
        (name.trim_matches('`').to_owned(), cells.collect())
    })
    .collect()
}

/// Wants a scrape to have metrics of the reference only, described as there, and all that have no
/// labels: those are there before anything has happened.
///
/// # Errors
///
/// When it has others, or lacks one.
pub fn check_scrape(reference: &str, scrape: &str) -> Result<()> {
    let documented = rows(reference);
    let types = scrape.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let shown: BTreeMap<_, _> = types.filter_map(|line| line.split_once(' ')).collect();
    for (name, kind) in &shown {
        let row = documented.get(*name).map(Vec::as_slice);
        let Some([known, _, help]) = row else {
            anyhow::bail!("{name} is not in the reference");
        };
        ensure!(known == kind, "{name} is a {kind}");
        let help = format!("# HELP {name} {help}");
        ensure!(scrape.contains(&help), "{name} is described otherwise");
    }
    for (name, row) in &documented {
        let has_labels = row.get(1).is_some_and(|labels| !labels.is_empty());
        ensure!(
            has_labels || shown.contains_key(name.as_str()),
            "{name} is missing"
        );
    }
    Ok(())
}
