//! Which registries and repositories are shared with peers.

use std::{fmt, str::FromStr};

/// `registry` for all of its repositories, or `registry/repository`; `*` stands for any
/// characters, separators too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

/// A pattern that could match nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is a registry or registry/repository, with * for any characters")]
pub struct PatternError;

/// The lists of what is shared: allowed and not denied. An empty allow list allows all.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Box<[Pattern]>,
    deny: Box<[Pattern]>,
}

impl Policy {
    /// A policy of the two lists.
    pub fn new(allow: Vec<Pattern>, deny: Vec<Pattern>) -> Self {
        Self {
            allow: allow.into(),
            deny: deny.into(),
        }
    }

    /// Whether everything is shared, also what has no name.
    pub fn shares_all(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether a repository is shared.
    pub fn shares(&self, registry: &str, repository: &str) -> bool {
        let any = |list: &[Pattern]| list.iter().any(|p| p.matches(registry, repository));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

impl Pattern {
    fn matches(&self, registry: &str, repository: &str) -> bool {
        if self.0.contains('/') {
            let name = format!("{registry}/{repository}");
            glob(self.0.as_bytes(), name.as_bytes())
        } else {
            glob(self.0.as_bytes(), registry.as_bytes())
        }
    }
}

/// Matches with one level of going back: a later star makes all choices of an earlier one moot.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|b| *b == b'*')
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]/*".contains(&b);
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.contains("://") || !trimmed.bytes().all(allowed) {
            return Err(PatternError);
        }
        Ok(Self(trimmed.trim_end_matches('/').into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    fn check(allow: &[&str], deny: &[&str], name: &str) -> bool {
        let list = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        let (registry, repository) = name.split_once('/').unwrap();
        Policy::new(list(allow), list(deny)).shares(registry, repository)
    }

    #[test]
    fn allowed_and_not_denied() {
        assert!(check(&[], &[], "docker.io/library/redis"));
        assert!(check(&["docker.io"], &[], "docker.io/library/redis"));
        assert!(!check(&["docker.io"], &[], "quay.io/a/b"));
        assert!(check(&["*.corp.example"], &[], "r1.corp.example/a"));
        assert!(!check(
            &["*.corp.example"],
            &["*/secret/*"],
            "r1.corp.example/secret/x"
        ));
        assert!(check(
            &["docker.io/library/*"],
            &[],
            "docker.io/library/redis"
        ));
        assert!(!check(
            &["docker.io/library/*"],
            &[],
            "docker.io/other/redis"
        ));
        assert!(!check(
            &[],
            &["docker.io/library/redis"],
            "docker.io/library/redis"
        ));
        assert!(check(
            &[],
            &["docker.io/library/redis"],
            "docker.io/library/redis7"
        ));
        assert!(check(&["*a*a*b"], &[], "xaxaxaxb/c"));
    }
}
