//! The agent's block in a hosts.toml: put before all other hosts, and taken out again without a
//! trace.
//!
//! containerd asks hosts in the order in which they stand. The file is edited as text, so that
//! everything the operator wrote stays as it is to the byte, and read as TOML only to make sure of
//! the result.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use toml_edit::{DocumentMut, TableLike};

use super::Capabilities;

const BEGIN: &str = "# BEGIN pi-agent";
const END: &str = "# END pi-agent";
const COPIED: &str = " (and the directory; the rest is a copy of _default's file, sum ";
const HINT: &str = "`pi-agent configure --remove` takes this block out";

/// The host that the block names.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Where containerd reaches the agent.
    pub url: String,
    /// What containerd asks it for.
    pub capabilities: Capabilities,
}

/// What there was before the block came, so that its removal can restore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// The file as it is without the block.
    File,
    /// The file without the line end before the block.
    FileWithoutLineEnd,
    /// An empty file, beside which containerd looks for certificates.
    EmptyFile,
    /// A directory without a file.
    Directory,
    /// Nothing.
    Nothing,
    /// Nothing; the text is a copy of the one for all registries, and has this [`sum`].
    Copied(u32),
}

/// A file without the agent's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// What is left.
    pub text: String,
    /// What there was before the block came; `None` where there was no block.
    pub before: Option<Before>,
}

/// Why a file is left alone.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// containerd could not read it either.
    #[error("it is no valid TOML")]
    Syntax(#[source] Box<toml_edit::TomlError>),
    /// The block was edited so that its bounds are lost.
    #[error("the line {0:?} is missing: restore it, or take the agent's block out by hand")]
    Torn(&'static str),
    /// The operator wrote the same host, but not as the first.
    #[error("it names {0} already, though not as the first host: move it up or take it out")]
    NotFirst(String),
    /// The hosts are written so that no further one can be put before them.
    #[error("its hosts are written inline: write each as [host.\"URL\"]")]
    Inline,
}

/// What adding came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// The file's new text.
    Text(String),
    /// The operator has put the same host first.
    ThereAlready,
}

/// The text of a file with the agent's block as the first host.
///
/// # Errors
/// When the file is broken or written in a way that leaves no place for the block.
pub fn add(text: &str, mirror: &Mirror, created: Option<Before>) -> Result<Added, BlockError> {
    let Removed { text, before } = remove(text)?;
    let own = text
        .parse::<DocumentMut>()
        .map_err(|e| BlockError::Syntax(Box::new(e)))?;
    match hosts(&own).iter().position(|host| *host == mirror.url) {
        Some(0) => return Ok(Added::ThereAlready),
        Some(_) => return Err(BlockError::NotFirst(mirror.url.clone())),
        None => {}
    }
    // A block that is renewed keeps what it remembers.
    let before = before.or(created).unwrap_or(Before::File);
    let added = insert(&text, mirror, before);
    let Ok(document) = added.parse::<DocumentMut>() else {
        return Err(BlockError::Inline);
    };
    if hosts(&document)
        .first()
        .is_none_or(|host| *host != mirror.url)
    {
        return Err(BlockError::Inline);
    }
    Ok(Added::Text(added))
}

/// The text of a file without the agent's block; without each of them, where somebody has copied it.
///
/// # Errors
/// When only one end of a block is there. What is left has none: it would be taken for an end of the block
/// that comes next.
pub fn remove(text: &str) -> Result<Removed, BlockError> {
    let mut removed = Removed {
        text: text.to_owned(),
        before: None,
    };
    while let Some(less) = remove_one(&removed.text)? {
        removed = Removed {
            before: removed.before.or(less.before),
            ..less
        };
    }
    Ok(removed)
}

/// Without the first block; `None` where there is none.
fn remove_one(text: &str) -> Result<Option<Removed>, BlockError> {
    let Some((start, first)) = line_with(text, BEGIN, 0) else {
        return match line_with(text, END, 0) {
            Some(_) => Err(BlockError::Torn(BEGIN)),
            None => Ok(None),
        };
    };
    let Some((last, line)) = line_with(text, END, start) else {
        return Err(BlockError::Torn(END));
    };
    // The end belongs to another block that begins before it: what is between would be lost.
    if line_with(text, BEGIN, start + first.len()).is_some_and(|(next, _)| next < last) {
        return Err(BlockError::Torn(END));
    }
    let before = Before::read(first);
    let mut head = text.get(..start).unwrap_or_default();
    if before == Before::FileWithoutLineEnd {
        head = head.strip_suffix('\n').unwrap_or(head);
    }
    let tail = text.get(last + line.len()..).unwrap_or_default();
    Ok(Some(Removed {
        text: format!("{head}{tail}"),
        before: Some(before),
    }))
}

impl Removed {
    /// Whether the text is still the copy that the agent made of another file.
    pub fn is_copy(&self) -> bool {
        matches!(self.before, Some(Before::Copied(copied)) if copied == sum(&self.text))
    }
}

/// Tells whether a text is still the one that was written.
pub fn sum(text: &str) -> u32 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(text));
    u32::from_be_bytes([a, b, c, d])
}

/// The hosts of a file in the order in which containerd asks them.
pub fn hosts(document: &DocumentMut) -> Vec<&str> {
    let table = document.get("host").and_then(|item| item.as_table_like());
    let mut hosts: Vec<_> = table
        .into_iter()
        .flat_map(TableLike::iter)
        .enumerate()
        .map(|(place, (url, item))| {
            let position = item.as_table().and_then(position);
            (position, place, url)
        })
        .collect();
    hosts.sort_by_key(|(position, place, _)| (*position, *place));
    hosts.into_iter().map(|(_, _, url)| url).collect()
}

/// Where a table stands; one that only its own tables imply, where the first of them does.
fn position(table: &toml_edit::Table) -> Option<isize> {
    let implied = || {
        table
            .iter()
            .filter_map(|(_, item)| position(item.as_table()?))
            .min()
    };
    table.position().or_else(implied)
}

fn insert(text: &str, mirror: &Mirror, before: Before) -> String {
    let at = first_table(text).unwrap_or(text.len());
    let (head, tail) = text.split_at(at);
    let joined = !head.is_empty() && !head.ends_with('\n');
    let before = match before {
        _ if joined => Before::FileWithoutLineEnd,
        // A block that was renewed stands elsewhere now, behind a line end that is not its own.
        Before::FileWithoutLineEnd => Before::File,
        other => other,
    };
    let line_end = if joined { "\n" } else { "" };
    let url = toml_edit::Value::from(mirror.url.as_str()).to_string();
    let capabilities = mirror.capabilities.toml();
    let note = before.note();
    format!(
        "{head}{line_end}{BEGIN}: {HINT}{note}\n[host.{}]\n  capabilities = {capabilities}\n{END}\n{tail}",
        url.trim()
    )
}

/// Where the first table begins, with the comment that stands right above it. A line within a
/// multi-line string could look like a table: then the result is no TOML, or has not the host, and
/// is not used.
fn first_table(text: &str) -> Option<usize> {
    let mut offset = 0;
    let mut comment = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        // The table of all hosts may be opened by itself; its first member comes after that.
        let opens_hosts = trimmed.trim_end() == "[host]";
        if trimmed.starts_with('[') && !opens_hosts {
            return Some(comment.unwrap_or(offset));
        }
        if trimmed.starts_with('#') {
            comment = comment.or(Some(offset));
        } else {
            comment = None;
        }
        offset += line.len();
    }
    None
}

/// The first line from `from` on that begins with `word`: where it begins, and with its end.
fn line_with<'a>(text: &'a str, word: &str, from: usize) -> Option<(usize, &'a str)> {
    let mut offset = from;
    for line in text.get(from..)?.split_inclusive('\n') {
        if line.starts_with(word) {
            return Some((offset, line));
        }
        offset += line.len();
    }
    None
}

impl Before {
    fn note(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::File => "",
            Self::FileWithoutLineEnd => " (and the line end before it)",
            Self::EmptyFile => " (and the rest: the file was empty)",
            Self::Directory => " (and the file, which was not there)",
            Self::Nothing => " (and the directory, which was not there)",
            Self::Copied(sum) => return format!("{COPIED}{sum:08x})").into(),
        })
    }

    fn read(line: &str) -> Self {
        let line = line.trim_end();
        let copied = || {
            let (_, sum) = line.strip_suffix(')')?.rsplit_once(COPIED)?;
            Some(Self::Copied(u32::from_str_radix(sum, 16).ok()?))
        };
        let noted = [
            Self::FileWithoutLineEnd,
            Self::EmptyFile,
            Self::Directory,
            Self::Nothing,
        ];
        (noted.into_iter())
            .find(|before| line.ends_with(&*before.note()))
            .or_else(copied)
            .unwrap_or(Self::File)
    }
}

#[cfg(test)]
mod tests;
