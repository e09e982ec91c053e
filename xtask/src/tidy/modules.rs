//! Modules look down only: `layers.toml` says in which order, and no modules import each other in a
//! circle.
//!
//! A module is a file with all that is below it: what a parent and its children import from each other
//! is their own affair. Between siblings, at each level, a circle is a breach.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Breach;
use super::imports::{CrateSource, ModulePath};
use crate::layers::{CrateLayers, EACH_OTHER, FILE, Layers};

/// One crate's source, and which file each module stands in.
#[derive(Debug, Default)]
struct Crate {
    source: CrateSource,
    files: BTreeMap<ModulePath, PathBuf>,
}

/// The imports between the children of one module: which one imports which, and the first place.
type Imports = BTreeMap<String, BTreeMap<String, ImportSite>>;

/// Where an import stands.
#[derive(Debug, Clone)]
struct ImportSite {
    file: PathBuf,
    line: usize,
}

/// The directory of each package.
fn packages(files: &[(PathBuf, String)]) -> BTreeMap<String, &Path> {
    let manifests = files
        .iter()
        .filter(|(path, _)| path.ends_with("Cargo.toml"));
    let named = manifests.filter_map(|(path, content)| {
        let manifest: toml::Table = toml::from_str(content).ok()?;
        let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
        Some((name, path.parent()?))
    });
    named.collect()
}

impl Crate {
    fn read(root: &Path, files: &[(PathBuf, String)], breaches: &mut Vec<Breach>) -> Self {
        let module = |path: &Path| path.strip_prefix(root).ok().and_then(module_of);
        Self::read_with(module, files, breaches)
    }

    /// A program below `src/bin/`: one file, or a directory with `main.rs`.
    fn read_program(
        directory: &Path,
        program: &str,
        files: &[(PathBuf, String)],
        breaches: &mut Vec<Breach>,
    ) -> Self {
        let root = directory.join("src/bin").join(program);
        let file = root.with_extension("rs");
        let module = |path: &Path| match path.strip_prefix(&root) {
            Ok(path) => module_of(path),
            Err(_) => (path == file).then(Vec::new),
        };
        Self::read_with(module, files, breaches)
    }

    fn read_with(
        module: impl Fn(&Path) -> Option<ModulePath>,
        files: &[(PathBuf, String)],
        breaches: &mut Vec<Breach>,
    ) -> Self {
        let mut read = Self::default();
        for (path, content) in files {
            let Some(module) = module(path) else {
                continue;
            };
            if let Err(error) = read.source.add(&module, content) {
                breaches.push(Breach::new(path, format!("is no Rust: {error}")));
            }
            read.files.insert(module, path.clone());
        }
        read.source = read.source.without_tests();
        read
    }

    /// The imports between siblings, by their parent.
    fn imports(&self) -> BTreeMap<ModulePath, Imports> {
        let mut all: BTreeMap<ModulePath, Imports> = BTreeMap::new();
        for reference in &self.source.references {
            let place = ImportSite {
                file: self.file(&reference.from),
                line: reference.line,
            };
            for target in self.source.targets(reference) {
                let same = reference
                    .from
                    .iter()
                    .zip(&target)
                    .take_while(|(a, b)| a == b)
                    .count();
                let (Some(from), Some(to)) = (reference.from.get(same), target.get(same)) else {
                    continue;
                };
                let parent = target.get(..same).unwrap_or_default().to_vec();
                let imports = all
                    .entry(parent)
                    .or_default()
                    .entry(from.clone())
                    .or_default();
                imports.entry(to.clone()).or_insert_with(|| place.clone());
            }
        }
        all
    }

    /// The file of a module; of one that stands within a file, that one.
    fn file(&self, module: &ModulePath) -> PathBuf {
        let mut module = module.clone();
        loop {
            if let Some(file) = self.files.get(&module) {
                return file.clone();
            }
            if module.pop().is_none() {
                return PathBuf::new();
            }
        }
    }
}

/// The module that a file below `src/` is; `None` for programs of their own, which are crates.
fn module_of(path: &Path) -> Option<ModulePath> {
    let path = path.to_str()?.strip_suffix(".rs")?;
    if path == "lib" || path == "main" {
        return Some(Vec::new());
    }
    let names: Vec<_> = path.split('/').map(str::to_owned).collect();
    let is_other = names.first().is_some_and(|name| name == "bin");
    (!is_other).then_some(names)
}

/// Checks the crates that `layers.toml` names. `files` are all files of the workspace.
pub(super) fn check(layers: &Layers, files: &[(PathBuf, String)], breaches: &mut Vec<Breach>) {
    let directories = packages(files);
    for krate in &layers.crates {
        let Some(directory) = directories.get(krate.name.as_str()) else {
            let what = format!("names the crate {}, which is not there", krate.name);
            breaches.push(Breach::new(Path::new(FILE), what));
            continue;
        };
        let read = Crate::read(&directory.join("src"), files, breaches);
        krate.check(&read, breaches);
        for program in programs(directory, files) {
            let read = Crate::read_program(directory, &program, files, breaches);
            for (parent, imports) in read.imports() {
                circles(&program, &parent, &imports, breaches);
            }
        }
    }
    unlisted(layers, &directories, files, breaches);
}

/// The programs below a package's `src/bin/`, by name.
fn programs(directory: &Path, files: &[(PathBuf, String)]) -> BTreeSet<String> {
    let below = directory.join("src/bin");
    let paths = files.iter().filter(|(path, _)| super::is_rust(path));
    let paths =
        paths.filter_map(|(path, _)| path.strip_prefix(&below).ok()?.iter().next()?.to_str());
    paths
        .map(|name| name.strip_suffix(".rs").unwrap_or(name).to_owned())
        .collect()
}

/// Each package with modules has its layers.
fn unlisted(
    layers: &Layers,
    directories: &BTreeMap<String, &Path>,
    files: &[(PathBuf, String)],
    breaches: &mut Vec<Breach>,
) {
    let listed: BTreeSet<&str> = layers.crates.iter().map(|k| k.name.as_str()).collect();
    for (name, directory) in directories {
        let source = directory.join("src");
        let is_source = |path: &Path| path.strip_prefix(&source).is_ok_and(super::is_rust);
        if !listed.contains(name.as_str()) && files.iter().any(|(path, _)| is_source(path)) {
            let what = format!("{FILE} has no layers for the crate {name}");
            breaches.push(Breach::new(&directory.join("Cargo.toml"), what));
        }
    }
}

impl CrateLayers {
    fn check(&self, read: &Crate, breaches: &mut Vec<Breach>) {
        self.check_names(read, breaches);
        let levels = self.levels();
        for (parent, imports) in read.imports() {
            if parent.is_empty() {
                upwards(&imports, &levels, breaches);
                self.each_other(&imports, &levels, breaches);
            }
            circles(&self.name, &parent, &imports, breaches);
        }
    }

    /// Imports within a layer, of modules that must not know each other.
    fn each_other(
        &self,
        imports: &Imports,
        levels: &BTreeMap<&str, usize>,
        breaches: &mut Vec<Breach>,
    ) {
        let rows = self.layers.iter();
        let strict = rows.filter(|row| row.must_not_know.contains(EACH_OTHER));
        for from in strict.flat_map(|row| &row.modules) {
            for (to, place) in imports.get(from).into_iter().flatten() {
                if from != to && levels.get(from.as_str()) == levels.get(to.as_str()) {
                    let what = format!(
                        "line {}: {from} imports {to}: they must not know {EACH_OTHER} ({FILE})",
                        place.line
                    );
                    breaches.push(Breach::new(&place.file, what));
                }
            }
        }
    }

    /// Each module stands in one layer.
    fn check_names(&self, read: &Crate, breaches: &mut Vec<Breach>) {
        let mut breach = |what| breaches.push(Breach::new(Path::new(FILE), what));
        let there: BTreeSet<&str> = read
            .source
            .modules
            .iter()
            .filter_map(|path| path.first().map(String::as_str))
            .collect();
        let mut named = BTreeSet::new();
        for name in self.layers.iter().flat_map(|layer| &layer.modules) {
            if !there.contains(name.as_str()) {
                breach(format!("{}: there is no module {name}", self.name));
            }
            if !named.insert(name.as_str()) {
                breach(format!("{}: {name} stands in two layers", self.name));
            }
        }
        for name in there.difference(&named) {
            breach(format!(
                "{}: the module {name} stands in no layer",
                self.name
            ));
        }
    }

    /// The layer of each module, counted from the top.
    fn levels(&self) -> BTreeMap<&str, usize> {
        let mut level = 0;
        let rows = self.layers.iter().map(|row| {
            level += usize::from(!row.beside);
            (level, row)
        });
        rows.flat_map(|(level, row)| row.modules.iter().map(move |name| (name.as_str(), level)))
            .collect()
    }
}

/// The imports between the children of `parent` make no circle.
fn circles(name: &str, parent: &[String], imports: &Imports, breaches: &mut Vec<Breach>) {
    if let Some(circle) = circle(imports) {
        breaches.push(told(name, parent, &circle, imports));
    }
}

fn upwards(imports: &Imports, levels: &BTreeMap<&str, usize>, breaches: &mut Vec<Breach>) {
    for (from, targets) in imports {
        for (to, place) in targets {
            let (Some(low), Some(high)) = (levels.get(from.as_str()), levels.get(to.as_str()))
            else {
                continue;
            };
            if high < low {
                let what = format!(
                    "line {}: {from} imports {to}, which stands in a layer above it ({FILE})",
                    place.line
                );
                breaches.push(Breach::new(&place.file, what));
            }
        }
    }
}

fn told(name: &str, parent: &[String], circle: &[String], imports: &Imports) -> Breach {
    let within = [&[name.to_owned()], parent].concat().join("::");
    let pairs = circle.iter().zip(circle.iter().cycle().skip(1));
    let steps: Vec<_> = pairs
        .filter_map(|(from, to)| {
            let ImportSite { file, line } = imports.get(from)?.get(to)?;
            Some(format!(
                "{from} imports {to} ({}, line {line})",
                file.display()
            ))
        })
        .collect();
    let what = format!(
        "modules of {within} import each other in a circle: {}",
        steps.join(", ")
    );
    let first = circle
        .first()
        .and_then(|from| imports.get(from)?.values().next());
    Breach::new(first.map_or(Path::new(FILE), |place| &place.file), what)
}

/// One of the shortest circles, if there is any.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let circles = imports
        .keys()
        .filter_map(|start| shortest_way(imports, start, start));
    circles.min_by_key(Vec::len)
}

/// The modules from `start` to the one before `end`, found in breadth.
fn shortest_way(imports: &Imports, start: &str, end: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way
                .last()
                .and_then(|last| imports.get(last))
                .into_iter()
                .flatten()
            {
                let (next, _) = next;
                if next == end {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way.iter().chain([next]).cloned().collect());
                }
            }
        }
        ways = longer;
    }
    None
}
