//! Names of places.

use std::collections::BTreeMap;

use crate::file::error::Findings;
use crate::file::nearest::nearest;
use crate::file::problem::Problem;
use crate::file::value::Typed;

/// What a name looks like. No slash, so that no name is an address prefix.
pub(crate) const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";

pub(crate) fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(inner)
}

/// The places by name.
#[derive(Debug, Default)]
pub(crate) struct Names<'a>(BTreeMap<&'a str, (usize, usize)>);

impl<'a> Names<'a> {
    /// Remembers a place and its line, unless the name is taken.
    pub(crate) fn take(&mut self, name: &'a Typed, index: usize, findings: &mut Findings) {
        let Some(text) = name.as_text() else { return };
        if let Some((_, first)) = self.0.get(text) {
            findings.add(name.at, text, Problem::NameTaken { first: *first });
        } else {
            self.0.insert(text, (index, name.at.line));
        }
    }

    /// The index of the place that is named there.
    pub(crate) fn find(&self, name: &Typed, findings: &mut Findings) -> Option<usize> {
        let text = name.as_text()?;
        let found = self.0.get(text).map(|(index, _)| *index);
        if found.is_none() {
            let nearest = nearest(text, self.0.keys().copied()).map(str::to_owned);
            findings.add(name.at, text, Problem::UnknownPlace { nearest });
        }
        found
    }
}
