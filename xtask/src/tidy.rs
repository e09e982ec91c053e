//! The house rules that neither rustfmt nor clippy knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::layers::{self, Layers};
use crate::shell::say;
use crate::workspace;

mod budget;
mod imports;
mod modules;
mod text;
mod words;

use budget::Budget;
use words::Words;

/// Says every breach, then fails if there was one.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let mut files = Vec::new();
    for path in workspace::files()? {
        // What libFuzzer makes up keeps no rules.
        if path.starts_with("fuzz/corpus") {
            continue;
        }
        let bytes = fs::read(root.join(&path)).with_context(|| path.display().to_string())?;
        // Files that are not text have no house rules.
        if let Ok(content) = String::from_utf8(bytes) {
            files.push((path, content));
        }
    }
    let mut budget = Budget::default();
    let breaches = check(&files, &Words::read()?, &mut budget)?;
    say(&budget.summary());
    for breach in &breaches {
        say(&format!("{}: {}", breach.path.display(), breach.what));
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules", breaches.len());
    }
    Ok(())
}

/// Checks all files of the workspace, each with its content.
fn check(files: &[(PathBuf, String)], words: &Words, budget: &mut Budget) -> Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    for (path, content) in files {
        text::check(path, content, &mut breaches);
        words.check(path, content, &mut breaches);
        if is_rust(path) {
            budget.add(path, content, &mut breaches);
        }
        if path == Path::new(layers::FILE) {
            let layers = Layers::read(content)?;
            modules::check(&layers, files, &mut breaches);
            check_page(&layers, files, &mut breaches)?;
        }
    }
    Ok(breaches)
}

/// The page on architecture shows the layers as they are.
fn check_page(
    layers: &Layers,
    files: &[(PathBuf, String)],
    breaches: &mut Vec<Breach>,
) -> Result<()> {
    let path = Path::new(layers::PAGE);
    let page = files.iter().find(|(other, _)| other == path);
    let (_, page) = page.with_context(|| format!("there is no {}", layers::PAGE))?;
    if layers.written_into(page)? != *page {
        let what = format!(
            "does not show what {} says: run `cargo xtask docs`",
            layers::FILE
        );
        breaches.push(Breach::new(path, what));
    }
    Ok(())
}

/// One breach of a rule.
#[derive(Debug)]
struct Breach {
    path: PathBuf,
    what: String,
}

impl Breach {
    fn new(path: &Path, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[cfg(test)]
mod tests;
