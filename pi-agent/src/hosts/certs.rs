//! Certificates in a directory whose hosts.toml is missing or empty, in Docker's manner.
//!
//! containerd takes `*.crt` as certificate authorities and `*.cert` with `*.key` as client
//! certificates, but only while there is nothing in a hosts.toml beside them: what is put there has to
//! name them.

use std::{collections::BTreeSet, fs, io, path::Path};

/// The lines for a new hosts.toml that keep a directory's certificates in force.
///
/// # Errors
/// When the directory cannot be read.
pub fn lines(directory: &Path) -> io::Result<String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let quoted = |name: &str| {
        let path = directory.join(name);
        toml_edit::Value::from(path.to_string_lossy().as_ref()).to_string()
    };
    let authorities: Vec<_> = names
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "crt"))
        .map(|name| quoted(name))
        .collect();
    let clients: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let key = format!("{}.key", name.strip_suffix(".cert")?);
            names
                .contains(&key)
                .then(|| format!("[{}, {}]", quoted(name), quoted(&key)))
        })
        .collect();
    let line = |key, values: &[String]| match values {
        [] => String::new(),
        values => format!("{key} = [{}]\n", values.join(", ")),
    };
    Ok(line("ca", &authorities) + &line("client", &clients))
}
