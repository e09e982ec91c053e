//! Which registries and repositories are shared with peers, and which of them are private.

mod verdicts;

pub use self::verdicts::{Verdict, Verdicts};

use std::{fmt, str::FromStr};

use wildmatch::WildMatchPattern;

use crate::{
    reference::TagName,
    registry::{canonical, host_and_port},
};

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

/// What is private.
#[derive(Debug, Clone, PartialEq)]
pub enum Private {
    /// What registries do not give to anybody.
    Auto,
    /// What the pattern covers.
    Pattern(Pattern),
}

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
    /// Where every repository is private that its registry does not give to anybody.
    verdicts: Option<Verdicts>,
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
            verdicts: None,
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

    /// The same where what registries say decides besides.
    #[must_use]
    pub fn with_verdicts(self, verdicts: Verdicts) -> Self {
        Self {
            verdicts: Some(verdicts),
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
        !self.private.is_empty() || self.verdicts.is_some()
    }

    /// Whether a repository is on the list of what is private, whatever its registry says.
    pub fn is_listed_private(&self, registry: &str, repository: &str) -> bool {
        is_listed(&self.private, registry, repository)
    }

    /// Waits until what is private by what registries say is something else.
    pub async fn changed(&self) {
        match &self.verdicts {
            Some(verdicts) => verdicts.changed().await,
            None => std::future::pending().await,
        }
    }

    /// A peer wants a manifest that is named by its digest: where registries decide who may have it, the one that
    /// has it may have to be asked.
    pub fn want(&self, name: TagName) {
        if let Some(verdicts) = &self.verdicts
            && !self.is_listed_private(&name.registry, &name.repository)
        {
            verdicts.want(name);
        }
    }

    /// Whether a repository is private. One of which nobody says the registry may be.
    pub fn is_private(&self, registry: Option<&str>, repository: &str) -> bool {
        match registry {
            Some(registry) => {
                let verdicts = self.verdicts.as_ref();
                self.is_listed_private(registry, repository)
                    || verdicts.is_some_and(|known| !known.is_public(registry, repository))
            }
            None => self.has_private(),
        }
    }

    /// Whether a repository is private of which the registry's port is not known: it is where it would be at
    /// some port.
    pub fn is_private_at_any_port(&self, host: &str, repository: &str) -> bool {
        let verdicts = self.verdicts.as_ref();
        self.is_listed_private(host, repository)
            || is_listed(&self.private_hosts, host, repository)
            || verdicts.is_some_and(|known| !known.is_public_at_each_port(host, repository))
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

impl FromStr for Private {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            text => text.parse().map(Self::Pattern),
        }
    }
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
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
mod tests;
