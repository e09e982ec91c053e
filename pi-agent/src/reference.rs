//! The name of an image: registry, repository, and a tag or a digest.

use std::{fmt, str::FromStr};

use crate::digest::Digest;

/// Longest name that is read; the distribution specification allows 255 for the repository.
const MAX_LEN: usize = 1024;

/// A full image name, `registry/repository[:tag][@digest]`, as containerd stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `host` or `host:port`.
    pub registry: String,
    /// The path within the registry, in lower case.
    pub repository: String,
    /// The tag, where the name has one.
    pub tag: Option<String>,
    /// The digest, where the name has one.
    pub digest: Option<Digest>,
}

/// The text is no full image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a full image name (registry/repository:tag)")]
pub struct ReferenceError;

/// A tag with the registry and repository that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagName {
    /// `host` or `host:port`.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

impl Reference {
    /// The key under which the tag is advertised, where the name has one.
    pub fn tag_key(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}/{}:{tag}", self.registry, self.repository))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_LEN {
            return Err(ReferenceError);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => match digest.parse() {
                Ok(digest) => (name, Some(digest)),
                Err(_) => return Err(ReferenceError),
            },
            None => (text, None),
        };
        let (registry, path) = name.split_once('/').ok_or(ReferenceError)?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let good = is_registry(registry)
            && is_repository(repository)
            && tag.is_none_or(is_tag)
            && (tag.is_some() || digest.is_some());
        if !good {
            return Err(ReferenceError);
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// A first component is a registry when it cannot be a part of a repository's path.
fn is_registry(text: &str) -> bool {
    let host = text.contains(['.', ':']) || text == "localhost";
    host && text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// Path components of lower-case letters, digits and single separators between them.
pub fn is_repository(text: &str) -> bool {
    let component = |part: &str| {
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        ends(bytes.first().copied())
            && ends(bytes.last().copied())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(b))
    };
    text.len() <= 255 && text.split('/').all(component)
}

/// A tag of the distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Reference;

    fn read(text: &str) -> Option<(String, String, Option<String>, bool)> {
        let reference: Reference = text.parse().ok()?;
        Some((
            reference.registry,
            reference.repository,
            reference.tag,
            reference.digest.is_some(),
        ))
    }

    #[test]
    fn reads_what_containerd_stores() {
        let hex = "a".repeat(64);
        let some = |r: &str, p: &str, t: Option<&str>, d| {
            Some((r.to_owned(), p.to_owned(), t.map(str::to_owned), d))
        };
        assert_eq!(
            read("docker.io/library/redis:7"),
            some("docker.io", "library/redis", Some("7"), false)
        );
        assert_eq!(
            read(&format!("127.0.0.1:5000/a/b@sha256:{hex}")),
            some("127.0.0.1:5000", "a/b", None, true)
        );
        assert_eq!(
            read(&format!("r.io/a:v1@sha256:{hex}")),
            some("r.io", "a", Some("v1"), true)
        );
        for bad in [
            "",
            "redis",
            "redis:7",
            "library/redis:7",
            "r.io/a",
            "r.io/A:v1",
            "r.io/a:",
            "r.io//a:v",
            "r.io/a:v@sha256:12",
            &format!("sha256:{hex}"),
            "r.io/../etc:v1",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_its_own_words(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert!(text.starts_with(&reference.registry));
                prop_assert!(text.contains(&reference.repository));
            }
        }

        #[test]
        fn a_tag_key_reads_back(repo in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}") {
            let name = format!("r.example:443/{repo}:{tag}");
            let reference: Reference = name.parse().unwrap();
            prop_assert_eq!(reference.tag_key(), Some(name));
        }
    }
}
