//! YAML as a tree in which every piece knows where it stands.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::file::error::{At, Findings};
use crate::file::lines::lines;
use crate::file::problem::Problem;

const MAX_BYTES: usize = 4 << 20;
const MAX_VALUES: usize = 200_000;
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Scalar { text: String, quoted: bool },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A list or map that is not yet closed.
struct Open {
    at: At,
    anchor: usize,
    content: Content,
    /// The key whose value comes next.
    key: Option<Node>,
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
    root: Option<Node>,
}

/// The file's one document. What follows a fault of syntax cannot be read.
pub(crate) fn load(text: &str, findings: &mut Findings) -> Option<Node> {
    let start = At { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        findings.add(start, "", Problem::TooLong(MAX_BYTES));
        return None;
    }
    let mut loader = Loader::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => {
                let at = position(span.start);
                loader.take(event, at).map_err(|problem| (at, problem))
            }
            Err(error) => Err((
                position(*error.marker()),
                Problem::Syntax(error.info().to_owned()),
            )),
        };
        if let Err((at, problem)) = step {
            findings.add(at, &rest_of_line(text, at), problem);
            return None;
        }
    }
    match loader.root {
        Some(Node {
            content:
                Content::Scalar {
                    text,
                    quoted: false,
                },
            ..
        }) if is_null(&text) => {
            findings.add(start, "", Problem::Empty);
            None
        }
        None => {
            findings.add(start, "", Problem::Empty);
            None
        }
        root => root,
    }
}

fn position(marker: Marker) -> At {
    At {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

fn rest_of_line(text: &str, at: At) -> String {
    let line = lines(text).nth(at.line - 1).unwrap_or("");
    line.chars()
        .skip(at.column - 1)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

impl Loader {
    fn take(&mut self, event: Event<'_>, at: At) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(Problem::SecondDocument),
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    return Err(Problem::Tag);
                }
                let quoted = style != ScalarStyle::Plain;
                let content = Content::Scalar {
                    text: text.into_owned(),
                    quoted,
                };
                self.close(Node { at, content }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(at, anchor, Content::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    at,
                    anchor,
                    content,
                    ..
                }) => self.close(Node { at, content }, anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let node = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or(Problem::AliasCycle)?;
                // The first is counted when it is put in its place.
                self.count(node.size() - 1)?;
                self.close(node, 0)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, at: At, anchor: usize, content: Content) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Problem::NestedTooDeep(MAX_DEPTH));
        }
        self.open.push(Open {
            at,
            anchor,
            content,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.count(1)?;
        if anchor != 0 {
            self.count(node.size())?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.content, open.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some(key)) => entries.push((key, node)),
            (Content::Map(_) | Content::Scalar { .. }, _) => open.key = Some(node),
        }
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), Problem> {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_VALUES {
            Err(Problem::TooManyValues(MAX_VALUES))
        } else {
            Ok(())
        }
    }
}

impl Node {
    /// What stands there, in short.
    pub(crate) fn text(&self) -> &str {
        match &self.content {
            Content::Scalar { text, .. } => text,
            Content::List(_) => "[...]",
            Content::Map(_) => "{...}",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, quoted: false } if is_null(text))
    }

    pub(crate) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar { .. } if self.is_null() => "nothing",
            Content::Scalar { .. } => "a plain value",
            Content::List(_) => "a list",
            Content::Map(_) => "a section of keys",
        }
    }

    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar { .. } => 0,
            Content::List(items) => items.iter().map(Self::size).sum(),
            Content::Map(entries) => entries
                .iter()
                .map(|(key, value)| key.size() + value.size())
                .sum(),
        }
    }
}
