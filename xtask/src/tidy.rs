//! The house rules that neither rustfmt nor clippy knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::say;
use crate::workspace;

mod budget;
mod text;

use budget::Budget;

/// Says every breach, then fails if there was one.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let mut breaches = Vec::new();
    let mut budget = Budget::default();
    for path in workspace::files()? {
        let bytes = fs::read(root.join(&path)).with_context(|| path.display().to_string())?;
        // Files that are not text have no house rules.
        let Ok(content) = String::from_utf8(bytes) else {
            continue;
        };
        text::check(&path, &content, &mut breaches);
        if is_rust(&path) {
            budget.add(&path, &content, &mut breaches);
        }
    }
    say(&budget.summary());
    for breach in &breaches {
        say(&format!("{}: {}", breach.path.display(), breach.what));
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules", breaches.len());
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
