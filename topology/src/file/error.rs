//! What is wrong with a topology file, and where.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::Topology;
use crate::file::lines::lines;
use crate::file::problem::Problem;

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One mistake in a topology file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileError {
    at: At,
    text: String,
    problem: Problem,
}

/// All the mistakes in a topology file: at least one, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FileErrors(Vec<FileError>);

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    // What an alias repeats is wrong in one place of the text only.
    errors: BTreeSet<FileError>,
}

impl FileError {
    /// From 1.
    pub fn line(&self) -> usize {
        self.at.line
    }

    /// In characters, from 1.
    pub fn column(&self) -> usize {
        self.at.column
    }

    /// What stands there.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// How to put it right.
    pub fn mend(&self) -> String {
        self.problem.mend()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at: At { line, column },
            text,
            problem,
        } = self;
        write!(
            f,
            "line {line}, column {column}: `{text}`: {problem}; {}",
            problem.mend()
        )
    }
}

impl std::error::Error for FileError {}

impl Serialize for FileError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("FileError", 5)?;
        fields.serialize_field("line", &self.at.line)?;
        fields.serialize_field("column", &self.at.column)?;
        fields.serialize_field("text", &self.text)?;
        fields.serialize_field("problem", &self.problem.to_string())?;
        fields.serialize_field("mend", &self.mend())?;
        fields.end()
    }
}

impl FileErrors {
    pub fn iter(&self) -> std::slice::Iter<'_, FileError> {
        self.0.iter()
    }

    /// The mistakes for a terminal: each with its line of the file and a mark below it.
    pub fn report(&self, name: &str, source: &str) -> String {
        let lines: Vec<&str> = lines(source).collect();
        let mut report = String::new();
        for FileError {
            at: At { line, column },
            text,
            problem,
        } in &self.0
        {
            let shown = line
                .checked_sub(1)
                .and_then(|index| lines.get(index))
                .unwrap_or(&"");
            let margin = " ".repeat(line.to_string().len());
            // A tab in front of the mark moves it as far as it moves the text.
            let indent: String = shown
                .chars()
                .take(column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let left = shown
                .chars()
                .count()
                .saturating_sub(column.saturating_sub(1))
                .max(1);
            let mark = "^".repeat(text.chars().count().clamp(1, left));
            let error = [
                format!("error: {problem}"),
                format!("{margin}--> {name}:{line}:{column}"),
                format!("{margin} |"),
                format!("{line} | {shown}"),
                format!("{margin} | {indent}{mark}"),
                format!("{margin} = {}", problem.mend()),
            ];
            report.push_str(&error.join("\n"));
            report.push_str("\n\n");
        }
        report
    }
}

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}

impl<'a> IntoIterator for &'a FileErrors {
    type Item = &'a FileError;
    type IntoIter = std::slice::Iter<'a, FileError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Findings {
    /// Most findings that are reported.
    const MAX_FINDINGS: usize = 200;
    const MAX_TEXT: usize = 60;

    pub(crate) fn add(&mut self, at: At, text: &str, problem: Problem) {
        if self.errors.len() >= Self::MAX_FINDINGS {
            return;
        }
        let first = lines(text).next().unwrap_or("");
        let mut shown: String = first.chars().take(Self::MAX_TEXT).collect();
        if shown.len() < text.len() {
            shown.push_str("...");
        }
        self.errors.insert(FileError {
            at,
            text: shown,
            problem,
        });
    }

    pub(crate) fn into_result(self, topology: Option<Topology>) -> Result<Topology, FileErrors> {
        match topology {
            Some(topology) if self.errors.is_empty() => Ok(topology),
            _ => Err(FileErrors(self.errors.into_iter().collect())),
        }
    }
}
