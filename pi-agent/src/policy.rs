//! Which registries and repositories are shared with peers, and which of them are private.

use std::{fmt, str::FromStr};

use wildmatch::WildMatchPattern;

use crate::registry::{canonical, host_and_port};

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

/// The lists of what is shared: allowed and not denied. An empty allow list allows all. Of what is private
/// as well, no manifest is shared, and a blob only with who names a repository that has it.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Box<[Pattern]>,
    deny: Box<[Pattern]>,
    /// The same, whatever the port.
    deny_hosts: Box<[Pattern]>,
    private: Box<[Pattern]>,
    /// The same, whatever the port.
    private_hosts: Box<[Pattern]>,
}

impl Policy {
    /// A policy of the two lists.
    pub fn new(allow: Vec<Pattern>, deny: Vec<Pattern>) -> Self {
        Self {
            allow: allow.into(),
            deny_hosts: deny.iter().map(Pattern::without_port).collect(),
            deny: deny.into(),
            private: Box::default(),
            private_hosts: Box::default(),
        }
    }

    /// The same with a list of what is private.
    #[must_use]
    pub fn with_private(self, private: Vec<Pattern>) -> Self {
        Self {
            private_hosts: private.iter().map(Pattern::without_port).collect(),
            private: private.into(),
            ..self
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
        let is_listed = |list: &[Pattern]| is_listed(list, registry, repository);
        (self.allow.is_empty() || is_listed(&self.allow)) && !is_listed(&self.deny)
    }

    /// Whether a repository is shared of which the registry's port is not known: a pattern that denies it at
    /// some port denies it.
    pub fn shares_at_any_port(&self, host: &str, repository: &str) -> bool {
        self.shares(host, repository) && !is_listed(&self.deny_hosts, host, repository)
    }

    /// Whether anything may be private.
    pub fn has_private(&self) -> bool {
        !self.private.is_empty()
    }

    /// Whether a repository is private. One of which nobody says the registry may be.
    pub fn is_private(&self, registry: Option<&str>, repository: &str) -> bool {
        match registry {
            Some(registry) => is_listed(&self.private, registry, repository),
            None => self.has_private(),
        }
    }

    /// Whether a repository is private of which the registry's port is not known: it is where it would be at
    /// some port.
    pub fn is_private_at_any_port(&self, host: &str, repository: &str) -> bool {
        self.is_private(Some(host), repository) || is_listed(&self.private_hosts, host, repository)
    }
}

/// Whether a pattern covers the repository.
fn is_listed(list: &[Pattern], registry: &str, repository: &str) -> bool {
    let names = [canonical(registry), registry.to_ascii_lowercase()];
    let repository = repository.to_ascii_lowercase();
    let covers = |pattern: &Pattern| {
        let mut names = names.iter();
        names.any(|registry| pattern.matches(registry, &repository))
    };
    list.iter().any(covers)
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self {
            stars: Stars::new(text),
            text: text.into(),
        }
    }

    /// The pattern of the same registry at any port.
    fn without_port(&self) -> Self {
        let (registry, path) = split(&self.text);
        let (host, _) = host_and_port(registry);
        Self::new(&format!("{host}{path}"))
    }

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
        let (registry, rest) = split(&text);
        Ok(if registry.contains('*') {
            Self::new(&text)
        } else {
            Self::new(&(canonical(registry) + rest))
        })
    }
}

/// A pattern's registry, and the rest of it.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find('/').unwrap_or(text.len()))
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
    fn what_is_denied_at_one_port_is_denied_where_the_port_is_not_known() {
        let check = |deny: &str, name: &str| {
            let policy = Policy::new(vec![], vec![deny.parse().unwrap()]);
            let (host, repository) = name.split_once('/').unwrap();
            policy.shares_at_any_port(host, repository)
        };
        for (deny, name) in [
            ("reg.test:5000/secret/*", "reg.test/secret/y"),
            ("reg.test:5000", "reg.test/a"),
            ("reg.test/a", "reg.test/a"),
            ("*:5000/secret/*", "reg.test/secret/y"),
            ("[2001:db8::1]:5000/a", "2001:db8::1/a"),
        ] {
            assert!(!check(deny, name), "{deny} and {name}");
        }
        assert!(check("reg.test:5000/secret/*", "reg.test/public/y"));
        assert!(check("reg.test:5000/secret/*", "other.test/secret/y"));
    }

    #[test]
    fn what_is_private_is_so_under_each_of_its_names() {
        let policy = |private: &str| Policy::default().with_private(vec![private.parse().unwrap()]);
        for (private, name) in [
            ("reg.test:5000/secret/*", "REG.test:05000/secret/y"),
            ("reg.test", "reg.test.:443/a"),
            ("docker.io/corp/*", "registry-1.docker.io/corp/app"),
            ("index.docker.io/corp", "docker.io/corp"),
            ("[2001:db8::1]:5000/*", "[2001:DB8:0::1]:5000/a"),
            ("*/secret/*", "any.test/Secret/y"),
        ] {
            let (registry, repository) = name.split_once('/').unwrap();
            let policy = policy(private);
            let is_private = policy.is_private(Some(registry), repository);
            assert!(is_private, "{private} and {name}");
            assert!(policy.shares(registry, repository), "its layers are");
            assert!(policy.is_private(None, repository), "{private}");
        }
        for (private, name) in [
            ("reg.test:5000/secret/*", "reg.test:5001/secret/y"),
            ("reg.test/secret/*", "reg.test/public/y"),
            ("docker.io/corp/app", "docker.io/corp/app2"),
        ] {
            let (registry, repository) = name.split_once('/').unwrap();
            let is_private = policy(private).is_private(Some(registry), repository);
            assert!(!is_private, "{private} and {name}");
        }
        // As containerd records it.
        let policy = policy("reg.test:5000/secret/*");
        assert!(policy.is_private_at_any_port("reg.test", "secret/y"));
        assert!(!policy.is_private_at_any_port("reg.test", "public/y"));
        assert!(!policy.is_private(Some("reg.test"), "secret/y"));
        let none = Policy::default();
        assert!(!none.has_private() && !none.is_private(None, "a"));
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
