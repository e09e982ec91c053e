//! containerd's own configuration, as far as it says where mirror files are read from.

mod pulls;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use daemon::access::{Need, explain};
use toml_edit::{Document, Item, TableLike};

pub use self::pulls::Pulls;
use super::release::Release;

/// Files that one configuration imports at most.
const MAX_IMPORTS: usize = 64;
/// The setting that names the directories of mirror files.
const KEY: &str = "config_path";
/// The plugin of containerd 2.x that pulls.
const IMAGES: &str = "io.containerd.cri.v1.images";
/// The newest form of the file.
const NEWEST: i64 = 3;

/// What a configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerdConfig {
    /// The file.
    pub path: PathBuf,
    /// 1, 2 or 3.
    pub version: i64,
    /// What it says of the directories that mirror files are read from; empty where it says nothing.
    pub config_path: String,
    /// The same in the section of containerd 2.x, in a file of version 2 that has both.
    pub images_config_path: String,
    /// The line of the section that holds `config_path`, where the file has it.
    pub section_line: Option<usize>,
    /// Whether mirrors are set in the old way, which excludes `config_path`.
    pub old_mirrors: bool,
    /// How it pulls, and what it keeps of it.
    pub pulls: Pulls,
}

/// Why containerd does not read the mirror files.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration cannot be read.
    #[error("containerd's configuration {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no configuration: containerd runs with its defaults, which read no mirror files.
    #[error(
        "containerd has no configuration file {}, and without one it reads no mirror files.\n\
         Make it with these lines and restart containerd (running containers go on):\n\n{text}",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to write into it.
        text: String,
    },
    /// It is no TOML.
    #[error("containerd's configuration {} is no valid TOML", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml_edit::TomlError>,
    },
    /// `config_path` is not set.
    #[error(transparent)]
    NotSet(Advice),
    /// `config_path` names other directories.
    #[error(
        "containerd reads mirror files from {configured}, not from {}: give --hosts-dir {}",
        wanted.display(), first.display()
    )]
    Elsewhere {
        /// What the configuration says.
        configured: String,
        /// The first directory that it names.
        first: PathBuf,
        /// What was asked for.
        wanted: PathBuf,
    },
    /// `config_path` names several directories, and the transfer service takes them for one.
    #[error(transparent)]
    Whole(Whole),
}

/// How to make the transfer service read mirror files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    path: PathBuf,
    config_path: String,
    section: &'static str,
    line: String,
}

/// How to make containerd read mirror files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    path: PathBuf,
    version: i64,
    section: &'static str,
    section_line: Option<usize>,
    line: String,
    old_mirrors: bool,
}

impl ContainerdConfig {
    /// Reads the configuration with what it imports; an import wins over the file.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ConfigError::Missing {
                    path: path.to_owned(),
                    text: String::new(),
                });
            }
            Err(error) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source: explain(error, path, Need::Read),
                });
            }
        };
        let mut config = Self::parse(path, &text)?;
        for import in imports(path, &text) {
            let Ok(text) = fs::read_to_string(&import) else {
                continue;
            };
            let imported = Self::parse(&import, &text)?;
            let later = [
                (imported.config_path, &mut config.config_path),
                (imported.images_config_path, &mut config.images_config_path),
            ];
            for (imported, path) in later {
                if !imported.is_empty() {
                    *path = imported;
                }
            }
            config.old_mirrors |= imported.old_mirrors;
            config.pulls.overlay(imported.pulls);
        }
        Ok(config)
    }

    /// Reads the text of one file.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let document = Document::parse(text).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let version = document
            .get("version")
            .and_then(Item::as_integer)
            .unwrap_or(1);
        let section = section(document.as_table(), version);
        let line = section
            .and_then(Item::span)
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let table = section.and_then(Item::as_table_like);
        let has = |key: &str| {
            let item = table
                .and_then(|table| table.get(key))
                .and_then(Item::as_table_like);
            item.is_some_and(|item| !item.is_empty())
        };
        let value = |table: Option<&dyn TableLike>| {
            let value = table.and_then(|table| table.get(KEY));
            value.and_then(Item::as_str).unwrap_or_default().to_owned()
        };
        let images = (version == 2).then(|| images(document.as_table()));
        Ok(Self {
            path: path.to_owned(),
            version,
            config_path: value(table),
            images_config_path: value(images.flatten()),
            section_line: line,
            old_mirrors: has("mirrors"),
            pulls: Pulls::read(document.as_table(), version),
        })
    }

    /// The value of `config_path` that counts for a release; empty where none is set.
    pub(super) fn roots(&self, release: Option<Release>) -> &str {
        let older = release.is_some_and(|release| release < Release::IMAGES_PLUGIN);
        if self.config_path.is_empty() && !older {
            &self.images_config_path
        } else {
            &self.config_path
        }
    }

    /// What containerd runs with where there is no file.
    pub(super) fn absent(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            version: NEWEST,
            config_path: String::new(),
            images_config_path: String::new(),
            section_line: None,
            old_mirrors: false,
            pulls: Pulls::default(),
        }
    }

    /// That `config_path` is not set, and how to set it to `hosts_dir`.
    pub(super) fn not_set(&self, hosts_dir: &Path) -> ConfigError {
        ConfigError::NotSet(Advice {
            path: self.path.clone(),
            version: self.version,
            section: section_name(self.version),
            section_line: self.section_line,
            line: assignment(hosts_dir),
            old_mirrors: self.old_mirrors,
        })
    }

    /// That the transfer service takes `config_path` for one directory, and how to mend it.
    pub(super) fn whole(&self, config_path: &str, hosts_dir: &Path) -> Whole {
        Whole {
            path: self.path.clone(),
            config_path: config_path.to_owned(),
            section: section_name(self.version),
            line: assignment(hosts_dir),
        }
    }
}

/// The file that makes containerd read mirror files, where it has none.
pub(super) fn missing(path: &Path, hosts_dir: &Path) -> ConfigError {
    let line = assignment(hosts_dir);
    ConfigError::Missing {
        path: path.to_owned(),
        text: format!("version = 2\n\n{}\n  {line}\n", section_name(2)),
    }
}

fn assignment(hosts_dir: &Path) -> String {
    format!("{KEY} = {:?}", hosts_dir.display().to_string())
}

fn section_name(version: i64) -> &'static str {
    match version {
        i64::MIN..=1 => "[plugins.cri.registry]",
        2 => r#"[plugins."io.containerd.grpc.v1.cri".registry]"#,
        _ => r#"[plugins."io.containerd.cri.v1.images".registry]"#,
    }
}

/// The section of registries that containerd 2.x has.
fn images(root: &toml_edit::Table) -> Option<&dyn TableLike> {
    let plugins = root.get("plugins")?.as_table_like()?;
    let images = plugins.get(IMAGES)?.as_table_like()?;
    images.get("registry")?.as_table_like()
}

fn section(root: &toml_edit::Table, version: i64) -> Option<&Item> {
    let plugin = match version {
        i64::MIN..=1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => IMAGES,
    };
    let table = |item: &'static str, from: &'_ dyn TableLike| from.contains_key(item);
    let plugins = root.get("plugins")?.as_table_like()?;
    if !table(plugin, plugins) {
        return None;
    }
    plugins.get(plugin)?.as_table_like()?.get("registry")
}

/// The files that a configuration imports; a pattern is a star in the last component.
pub(super) fn imports(path: &Path, text: &str) -> Vec<PathBuf> {
    let base = path.parent().unwrap_or(Path::new("/"));
    let document = Document::parse(text).ok();
    let patterns: Vec<_> = document
        .as_ref()
        .and_then(|document| document.get("imports")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(|value| Some(base.join(value.as_str()?)))
        .collect();
    let mut files: Vec<_> = patterns
        .iter()
        .flat_map(|pattern| matching(pattern))
        .collect();
    files.truncate(MAX_IMPORTS);
    files
}

fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let Some((head, tail)) = name.split_once('*') else {
        return vec![pattern.to_owned()];
    };
    let entries = pattern
        .parent()
        .and_then(|parent| fs::read_dir(parent).ok());
    let mut files: Vec<_> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        })
        .collect();
    files.sort();
    files
}

impl std::error::Error for Advice {}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            version,
            section,
            line,
            ..
        } = self;
        let path = path.display();
        writeln!(f, "containerd reads no mirror files: {KEY} is not set.")?;
        match self.section_line {
            Some(number) => writeln!(
                f,
                "In {path} (version {version}), in the section {section} at line {number}, add the \
                 line"
            )?,
            None => writeln!(f, "At the end of {path} (version {version}) add the lines")?,
        }
        writeln!(f)?;
        if self.section_line.is_none() {
            writeln!(f, "{section}")?;
        }
        writeln!(f, "  {line}\n")?;
        if self.old_mirrors {
            writeln!(
                f,
                "and take the sections of registry.mirrors out, which containerd refuses beside \
                 {KEY}; mirrors belong into hosts.toml files."
            )?;
        }
        write!(f, "Then restart containerd; running containers go on.")
    }
}

impl std::error::Error for Whole {}

impl std::fmt::Display for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            config_path,
            section,
            line,
        } = self;
        write!(
            f,
            "containerd pulls by its transfer service, which takes {KEY} = {config_path:?} for the \
             name of one directory: it asks no mirror.\nIn {} let it name one directory,\n\n\
             {section}\n  {line}\n\nand move there what the others hold; or have the CRI plugin \
             pull, which reads all of them:\n\n[plugins.{IMAGES:?}]\n  use_local_image_pull = \
             true\n\nThen restart containerd; running containers go on.",
            path.display()
        )
    }
}

#[cfg(test)]
mod tests;
