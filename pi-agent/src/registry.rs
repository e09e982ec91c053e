//! A registry's name as containerd writes it: the directory under `certs.d` and the `ns` of a
//! request.

use std::{fmt, str::FromStr};

/// `host`, `host:port`, `[v6]:port`, or `_default` for every registry without a file of its own.
///
/// It can name one directory and nothing else: no separators, no dots alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryName(Box<str>);

/// Why a text names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a registry is written host or host:port, without scheme and path, or _default")]
pub struct RegistryNameError;

impl RegistryName {
    /// The name that stands for all registries without a file of their own.
    pub const DEFAULT: &str = "_default";

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this stands for all registries without a file of their own.
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl FromStr for RegistryName {
    type Err = RegistryNameError;

    fn from_str(text: &str) -> Result<Self, RegistryNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let plausible = text.bytes().any(|b| b.is_ascii_alphanumeric())
            && text.len() <= 255
            && !text.starts_with('.')
            && text.bytes().all(allowed);
        if plausible {
            Ok(Self(text.into()))
        } else {
            Err(RegistryNameError)
        }
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RegistryName;

    #[test]
    fn names_a_directory_and_nothing_else() {
        for good in [
            "docker.io",
            "127.0.0.1:5000",
            "_default",
            "[fd00::1]:5000",
            "localhost",
        ] {
            assert_eq!(good.parse::<RegistryName>().unwrap().as_str(), good);
        }
        for bad in [
            "", ".", "..", "a/b", "http://x", "../x", "a b", ":", "_", "a\0",
        ] {
            assert!(bad.parse::<RegistryName>().is_err(), "{bad:?}");
        }
    }
}
