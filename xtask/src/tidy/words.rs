//! Words that are not used here, and their replacements: `words.toml` beside this file.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Breach;

const FILE: &str = "xtask/src/tidy/words.toml";

/// The words that are not used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    #[serde(rename = "word")]
    words: Vec<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    /// All of its forms.
    not: Vec<String>,
    /// The replacement.
    say: String,
}

/// A text as one line, without what makes its lines comments or quotations: a phrase may be broken
/// into two lines.
struct Flat {
    text: String,
    /// Where in the text each line begins.
    begins: Vec<usize>,
}

impl Words {
    /// The project's list.
    ///
    /// # Errors
    /// When it is not what this reads.
    pub(super) fn read() -> Result<Self> {
        Self::from_list(include_str!("words.toml")).with_context(|| format!("reading {FILE}"))
    }

    /// # Errors
    /// When the list is not what this reads.
    pub(super) fn from_list(list: &str) -> Result<Self> {
        let mut words: Self = toml::from_str(list)?;
        for form in words.words.iter_mut().flat_map(|word| &mut word.not) {
            *form = form.to_lowercase();
        }
        Ok(words)
    }

    pub(super) fn check(&self, path: &Path, content: &str, breaches: &mut Vec<Breach>) {
        if path == Path::new(FILE) || path.extension().is_some_and(|end| end == "lock") {
            return;
        }
        let flat = Flat::of(content);
        for Word { not, say } in &self.words {
            for form in not {
                for line in flat.lines_with(form) {
                    let what = format!("line {line} says {form:?}; the word for it is: {say}");
                    breaches.push(Breach::new(path, what));
                }
            }
        }
    }
}

impl Flat {
    fn of(content: &str) -> Self {
        let mut flat = Self {
            text: String::with_capacity(content.len()),
            begins: Vec::new(),
        };
        for line in content.lines() {
            flat.begins.push(flat.text.len());
            let line = line
                .trim()
                .trim_start_matches(['/', '!', '#', '>', '*', '-', '\\']);
            flat.text
                .push_str(&line.trim().trim_end_matches('\\').trim_end().to_lowercase());
            flat.text.push(' ');
        }
        flat
    }

    /// The numbers of the lines in which a phrase begins that stands for itself.
    fn lines_with(&self, phrase: &str) -> impl Iterator<Item = usize> {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        self.text.match_indices(phrase).filter_map(move |(at, _)| {
            let before = self.text.get(..at)?.chars().next_back();
            let behind = self.text.get(at + phrase.len()..)?.chars().next();
            let stands_alone = !is_letter(before) && !is_letter(behind);
            stands_alone.then(|| self.begins.partition_point(|begin| *begin <= at))
        })
    }
}
