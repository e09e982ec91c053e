//! The one layer of an image.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::Recipe;
use crate::dist::{Archive, Entry, Facts};

/// glibc would otherwise ask name services that are not there.
const NAME_SERVICES: &[u8] = b"hosts: files dns\n";

/// Packs the program, its directory, and the little that its C library asks for. It is not gzipped
/// yet.
pub(super) fn make(facts: &Facts, recipe: Recipe, program: &Path) -> Result<Vec<u8>> {
    let user = recipe.user;
    let mut users = "root:x:0:0:root:/:\n".to_owned();
    let mut groups = "root:x:0:\n".to_owned();
    if user != 0 {
        writeln!(users, "piccolo:x:{user}:{user}:piccolo:/:")?;
        writeln!(groups, "piccolo:x:{user}:")?;
    }
    let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let mut layer = Archive::new(facts.epoch);
    layer.add(&Entry::directory("etc"))?;
    layer.add(&Entry::file("etc/nsswitch.conf", NAME_SERVICES))?;
    layer.add(&Entry::file("etc/passwd", users.as_bytes()))?;
    layer.add(&Entry::file("etc/group", groups.as_bytes()))?;
    for directory in directories(recipe.directory) {
        let is_own = recipe.directory.ends_with(directory);
        let owner = if is_own { user } else { 0 };
        layer.add(&Entry::directory(directory).owned_by(owner))?;
    }
    layer.add(&Entry::program(recipe.program, &bytes))?;
    layer.plain()
}

/// A directory and those above it, the highest first.
fn directories(path: &'static str) -> impl Iterator<Item = &'static str> {
    let path = path.trim_start_matches('/');
    let slashes = path
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    slashes
        .filter_map(move |end| path.get(..end))
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::directories;

    #[test]
    fn a_directory_comes_after_the_one_above_it() {
        let parts: Vec<_> = directories("/var/lib/piccolo").collect();
        assert_eq!(parts, ["var", "var/lib", "var/lib/piccolo"]);
        assert_eq!(directories("/").count(), 0);
    }
}
