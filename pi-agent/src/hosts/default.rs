//! The settings for all registries, copied into the file of one.
//!
//! containerd takes `_default` for registries that have no directory of their own, so a new file for
//! one of them has to say what `_default` says, or it would switch that off.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use daemon::access::{Need, explain};
use toml_edit::{DocumentMut, Item, Value};

use super::{
    block::{self, BlockError},
    certs,
};

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum DefaultError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be understood.
    #[error("{} cannot be understood", path.display())]
    Block {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BlockError,
    },
    /// A copy would look for certificates in another directory.
    #[error(
        "{} names {name:?} relative to its own directory, so that a copy of it would not find that: \
         write the path from / on",
        path.display()
    )]
    Relative {
        /// The file.
        path: PathBuf,
        /// The path in it.
        name: String,
    },
}

/// What the directory for all registries says, the agent's own block apart. Empty where it says
/// nothing.
///
/// # Errors
/// When it cannot be read, or says something that no copy can say.
pub fn text(directory: &Path) -> Result<String, DefaultError> {
    let path = directory.join("hosts.toml");
    // Where the file is missing or empty.
    let certificates_beside = || {
        certs::lines(directory).map_err(|source| DefaultError::Read {
            path: directory.to_owned(),
            source,
        })
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return certificates_beside(),
        Err(error) => {
            let source = explain(error, &path, Need::Read);
            return Err(DefaultError::Read { path, source });
        }
    };
    let failed = |source| DefaultError::Block {
        path: path.clone(),
        source,
    };
    if text.is_empty() {
        return certificates_beside();
    }
    let mut text = block::remove(&text).map_err(failed)?.text;
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let document = text
        .parse::<DocumentMut>()
        .map_err(|e| failed(BlockError::Syntax(Box::new(e))))?;
    let mut paths = Vec::new();
    certificates(document.as_item(), &mut paths);
    if let Some(name) = paths.into_iter().find(|name| Path::new(name).is_relative()) {
        return Err(DefaultError::Relative { path, name });
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Every `ca` and `client` at any depth.
fn certificates(item: &Item, paths: &mut Vec<String>) {
    let Some(table) = item.as_table_like() else {
        return;
    };
    for (key, item) in table.iter() {
        match item {
            Item::Value(value) if matches!(key, "ca" | "client") => strings(value, paths),
            item => certificates(item, paths),
        }
    }
}

fn strings(value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::String(text) => paths.push(text.value().clone()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, paths)),
        _ => {}
    }
}
