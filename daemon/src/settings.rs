//! The optional settings file under flags and environment.
//!
//! A file holds `flag-name = value` lines (TOML). Its values become the defaults of the flags
//! before the command line is read, so that flags win over the environment, and the environment
//! over the file.

mod process;
mod reference;

use std::{fs, io, path::PathBuf};

use clap::{ArgMatches, Command};

pub use self::reference::reference;
use crate::access::{Need, explain};

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("settings file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no TOML.
    #[error("settings file {} is no valid TOML", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It has a key that is no flag.
    #[error("settings file {}: unknown key {key:?}; {hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest key.
        hint: String,
    },
    /// A value that is neither text, number, truth value nor list of these.
    #[error("settings file {}: {key:?} takes a text, a number, true or false, or a list of texts", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
}

/// Reads the command line, with the file that `--config` (or its environment variable) names as
/// the lowest layer. Options of `command` and of its subcommands are looked up by their long name.
/// Prints help, version and errors of the command line itself, and ends the process there, as
/// clap does.
///
/// # Errors
/// When the file is unreadable, no TOML, or has a key that no flag has.
pub fn matches<I>(mut command: Command, args: I) -> Result<ArgMatches, SettingsError>
where
    I: IntoIterator<Item = std::ffi::OsString> + Clone,
{
    let lenient = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(args.clone());
    let path = lenient.ok().and_then(|m| config_path(&m));
    if let Some(path) = path {
        let text = fs::read_to_string(&path).map_err(|error| SettingsError::Read {
            path: path.clone(),
            source: explain(error, &path, Need::Read),
        })?;
        let table: toml::Table = toml::from_str(&text).map_err(|e| SettingsError::Syntax {
            path: path.clone(),
            source: Box::new(e),
        })?;
        for (key, value) in table {
            let values = texts(&value).ok_or_else(|| SettingsError::Value {
                path: path.clone(),
                key: key.clone(),
            })?;
            let (layered, known) = with_default(command, &key, &values);
            command = layered;
            if !known {
                let hint = nearest(&command, &key);
                return Err(SettingsError::UnknownKey { path, key, hint });
            }
        }
    }
    Ok(command.get_matches_from(args))
}

fn config_path(matches: &ArgMatches) -> Option<PathBuf> {
    let own = matches
        .try_get_one::<PathBuf>("config")
        .ok()
        .flatten()
        .cloned();
    own.or_else(|| matches.subcommand().and_then(|(_, sub)| config_path(sub)))
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(truth) => Some(vec![truth.to_string()]),
        toml::Value::Array(list) => {
            let nested: Option<Vec<_>> = list.iter().map(texts).collect();
            Some(nested?.into_iter().flatten().collect())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn with_default(command: Command, key: &str, values: &[String]) -> (Command, bool) {
    let id = command
        .get_arguments()
        .find(|a| a.get_long() == Some(key) && key != "config")
        .map(|a| a.get_id().clone());
    let (mut command, mut known) = match id {
        Some(id) => (
            command.mut_arg(id, |a| a.default_values(values.to_vec())),
            true,
        ),
        None => (command, false),
    };
    let names: Vec<_> = command
        .get_subcommands()
        .map(|s| s.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| {
            let (sub, found) = with_default(sub, key, values);
            known |= found;
            sub
        });
    }
    (command, known)
}

fn long_names(command: &Command, names: &mut Vec<String>) {
    names.extend(
        command
            .get_arguments()
            .filter_map(|a| a.get_long())
            .map(str::to_owned),
    );
    command
        .get_subcommands()
        .for_each(|sub| long_names(sub, names));
}

fn nearest(command: &Command, key: &str) -> String {
    let mut names = Vec::new();
    long_names(command, &mut names);
    match names
        .iter()
        .min_by_key(|name| strsim::levenshtein(name, key))
    {
        Some(name) => format!("the nearest known one is {name:?}"),
        None => "no keys are known".to_owned(),
    }
}
