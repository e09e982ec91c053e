//! The one layer of an image.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Recipe, authorities};
use crate::dist::{Archive, Entry, Facts};

/// glibc would otherwise ask name services that are not there.
const NAME_SERVICES: &[u8] = b"hosts: files dns\n";

/// Packs the program, its directory, certificate authorities, the little that its C library asks for, and
/// the libraries that it loads, which keep their places. It is not gzipped yet.
pub(super) fn make(
    facts: &Facts,
    recipe: Recipe,
    program: &Path,
    libraries: &[PathBuf],
) -> Result<Vec<u8>> {
    let user = recipe.user;
    let mut users = "root:x:0:0:root:/:\n".to_owned();
    let mut groups = "root:x:0:\n".to_owned();
    if user != 0 {
        writeln!(users, "piccolo:x:{user}:{user}:piccolo:/:")?;
        writeln!(groups, "piccolo:x:{user}:")?;
    }
    let mut layer = Archive::new(facts.epoch);
    layer.add(&Entry::directory("etc"))?;
    layer.add(&Entry::file("etc/nsswitch.conf", NAME_SERVICES))?;
    layer.add(&Entry::file("etc/passwd", users.as_bytes()))?;
    layer.add(&Entry::file("etc/group", groups.as_bytes()))?;
    layer.add(&Entry::directory("etc/ssl"))?;
    layer.add(&Entry::directory("etc/ssl/certs"))?;
    layer.add(&Entry::file(
        authorities::FILE,
        authorities::pem().as_bytes(),
    ))?;
    for directory in directories(recipe.directory) {
        let is_own = recipe.directory.ends_with(directory);
        let owner = if is_own { user } else { 0 };
        layer.add(&Entry::directory(directory).owned_by(owner))?;
    }
    add_libraries(&mut layer, libraries)?;
    layer.add(&Entry::program(recipe.program, &read(program)?))?;
    layer.plain()
}

fn add_libraries(layer: &mut Archive, libraries: &[PathBuf]) -> Result<()> {
    let paths = libraries.iter().map(|path| path.to_str());
    let paths: Vec<_> = paths
        .collect::<Option<_>>()
        .context("a library's path is not UTF-8")?;
    let parents = paths
        .iter()
        .filter_map(|path| Some(path.rsplit_once('/')?.0));
    let above: BTreeSet<_> = parents.flat_map(directories).collect();
    for directory in above {
        layer.add(&Entry::directory(directory))?;
    }
    for path in paths {
        let bytes = read(Path::new(path))?;
        layer.add(&Entry::program(path.trim_start_matches('/'), &bytes))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// A directory and those above it, the highest first.
fn directories(path: &str) -> impl Iterator<Item = &str> {
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
