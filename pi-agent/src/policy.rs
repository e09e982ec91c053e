//! Which registries and repositories are shared with peers.

use std::{fmt, str::FromStr};

use wildmatch::WildMatchPattern;

use crate::registry::canonical;

/// `registry` for all of its repositories, or `registry/repository`; `*` stands for any
/// characters, separators too.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    text: Box<str>,
    stars: Stars,
}

/// Knows no other wildcard than `*`: [`FromStr`] takes no NUL.
type Stars = WildMatchPattern<'*', '\0'>;

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
    ///
    /// Names are compared as they are resolved: hosts have no case, and a registry has one name. With
    /// a star in its registry a pattern may also cover the name as it is written, as `*:443` does.
    pub fn shares(&self, registry: &str, repository: &str) -> bool {
        let names = [canonical(registry), registry.to_ascii_lowercase()];
        let repository = repository.to_ascii_lowercase();
        let covers = |pattern: &Pattern| {
            let mut names = names.iter();
            names.any(|registry| pattern.matches(registry, &repository))
        };
        let any = |list: &[Pattern]| list.iter().any(covers);
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

impl Pattern {
    fn matches(&self, registry: &str, repository: &str) -> bool {
        if self.text.contains('/') {
            self.stars.matches(&format!("{registry}/{repository}"))
        } else {
            self.stars.matches(registry)
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]/*".contains(&b);
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.contains("://") || !trimmed.bytes().all(allowed) {
            return Err(PatternError);
        }
        let text = trimmed.trim_end_matches('/').to_ascii_lowercase();
        let (registry, rest) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text.as_str(), ""),
        };
        let text = if registry.contains('*') {
            text
        } else {
            canonical(registry) + rest
        };
        Ok(Self {
            stars: Stars::new(&text),
            text: text.into(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    fn no_other_way_to_write_a_name_is_around_a_list() {
        for (pattern, name) in [
            ("reg.test:5000/secret/*", "REG.test:5000/secret/y"),
            ("REG.test/secret/*", "reg.test/secret/y"),
            ("reg.test/secret/*", "reg.test:443/secret/y"),
            ("reg.test:443", "reg.test/a"),
            ("reg.test", "reg.test./a"),
            ("docker.io/library/*", "index.docker.io/library/redis"),
            ("registry-1.docker.io", "docker.io/a/b"),
            ("[2001:db8::1]:5000/*", "[2001:DB8:0::1]:5000/a"),
            ("*.corp/*", "R1.CORP/a"),
            ("*/secret/*", "reg.test/Secret/y"),
            ("reg.test/secret/*", "reg.test:0443/secret/y"),
            ("reg.test:5000", "reg.test:05000/secret/y"),
            ("*.corp:443/*", "r1.corp:443/x"),
            ("reg.test:*", "reg.test:443/x"),
            ("registry-*.docker.io/*", "registry-1.docker.io/a"),
            ("*.docker.io", "registry-1.docker.io/a"),
        ] {
            assert!(!check(&[], &[pattern], name), "{pattern} and {name}");
            assert!(check(&[pattern], &[], name), "{pattern} and {name}");
        }
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
