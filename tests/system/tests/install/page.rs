//! The commands of a page, as a reader would copy them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The shell commands under a heading of a page in `docs/`, down to the next heading.
pub(crate) fn commands(page: &str, heading: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut commands = Vec::new();
    let (mut inside, mut fence) = (false, None);
    for line in text.lines() {
        match (fence, line) {
            (None, line) if line.starts_with('#') => inside = line == heading,
            (None, line) if line.starts_with("```") => fence = Some(line == "```sh"),
            (Some(_), "```") => fence = None,
            (Some(true), line) if inside => commands.push(line.to_owned()),
            _ => {}
        }
    }
    ensure!(
        !commands.is_empty(),
        "{page} has no commands under {heading:?}"
    );
    Ok(commands)
}
