//! What no file may contain, and how it has to begin.

use std::path::Path;

use super::{Breach, is_rust};

pub(super) fn check(path: &Path, content: &str, breaches: &mut Vec<Breach>) {
    if is_rust(path) {
        check_rust(path, content, breaches);
    }
    if !is_prose_or_data(path) {
        for marker in unfinished() {
            if content.contains(&marker) {
                breaches.push(Breach::new(path, format!("says {marker}")));
            }
        }
    }
    for (number, line) in (1..).zip(content.lines()) {
        if private_directories()
            .iter()
            .any(|directory| names_directory(line, directory))
        {
            let what = format!("line {number} names a directory of somebody's machine");
            breaches.push(Breach::new(path, what));
        }
    }
}

fn check_rust(path: &Path, content: &str, breaches: &mut Vec<Breach>) {
    if !content.starts_with("//! ") {
        breaches.push(Breach::new(
            path,
            "does not begin with //! and what it is for",
        ));
    }
    if path.ends_with("mod.rs") {
        breaches.push(Breach::new(
            path,
            "is a mod.rs; foo.rs beside foo/ is the house's way",
        ));
    }
    let stem = path.file_stem().unwrap_or_default();
    if ["utils", "util", "common", "helpers", "types", "misc"]
        .iter()
        .any(|name| stem == *name)
    {
        breaches.push(Breach::new(path, "is named for nothing in particular"));
    }
}

/// Put together here, so that this file does not contain them.
fn unfinished() -> [String; 3] {
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"]].map(|parts| parts.concat())
}

fn private_directories() -> [String; 3] {
    ["home", "work", "root"].map(|name| format!("/{name}/"))
}

/// Whether the directory stands at the beginning of a path, not in the middle of one.
fn names_directory(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(index, _)| {
        let before = line.get(..index).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}*>)~".contains(c))
    })
}

fn is_prose_or_data(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "lock" || extension == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, content: &str) -> usize {
        let mut breaches = Vec::new();
        check(Path::new(path), content, &mut breaches);
        breaches.len()
    }

    #[test]
    fn finds_what_must_not_be_there() {
        assert_eq!(breaches("a.rs", "//! A.\n"), 0);
        assert_eq!(breaches("a.rs", "fn a() {}\n"), 1);
        assert_eq!(breaches("foo/mod.rs", "//! A.\n"), 1);
        assert_eq!(breaches("utils.rs", "//! A.\n"), 1);
        let [unfinished, ..] = unfinished();
        assert_eq!(breaches("a.sh", &unfinished), 1);
        let [home, ..] = private_directories();
        assert_eq!(breaches("a.md", &format!("in {home}me")), 1);
        assert_eq!(breaches("a.md", &format!("target{home}me")), 0);
    }
}
