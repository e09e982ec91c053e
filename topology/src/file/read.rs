//! From the YAML tree to typed values, by the tables of known keys.

use crate::file::document::{Content, Node};
use crate::file::error::Findings;
use crate::file::names;
use crate::file::nearest::nearest;
use crate::file::network::cidr;
use crate::file::problem::Problem;
use crate::file::shape::{Key, Need, Section, Shape};
use crate::file::units;
use crate::file::value::{Fields, Typed, Value};

/// The section that stands there, with those of its values that are sound.
pub(crate) fn section(
    node: &Node,
    section: &'static Section,
    findings: &mut Findings,
) -> Option<Fields> {
    let Content::Map(entries) = &node.content else {
        wrong_kind(node, &Shape::Section(section), findings);
        return None;
    };
    let mut seen: Vec<(&'static str, usize)> = Vec::new();
    let mut fields = Fields {
        at: node.at,
        entries: Vec::new(),
        present: Vec::new(),
    };
    for (name, value) in entries {
        let Some(key) = known(name, section, findings) else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(name, _)| *name == key.name) {
            findings.add(name.at, name.text(), Problem::KeyTwice { first: *first });
            continue;
        }
        seen.push((key.name, name.at.line));
        // A key with nothing behind it is as good as left out, but for those that have to be there.
        if value.is_null() && key.need != Need::Required {
            continue;
        }
        fields.present.push(key.name);
        if let Some(typed) = read(value, &key.shape, findings) {
            fields.entries.push((key.name, typed));
        }
    }
    let has = |key: &str| seen.iter().any(|(name, _)| *name == key);
    for key in section
        .keys
        .iter()
        .filter(|key| key.need == Need::Required && !has(key.name))
    {
        let example = missing_example(key);
        let problem = Problem::KeyMissing {
            section: section.name,
            key: key.name,
            example,
        };
        findings.add(node.at, first_words(node), problem);
    }
    let chosen = |choice: &[&str]| choice.iter().all(|key| has(key));
    let touched = section
        .choices
        .iter()
        .filter(|choice| choice.iter().any(|key| has(key)));
    let whole = section
        .choices
        .iter()
        .filter(|choice| chosen(choice))
        .count();
    if !section.choices.is_empty() && (whole != 1 || touched.count() != 1) {
        let choices = section
            .choices
            .iter()
            .map(|choice| spell(choice.iter().copied(), " and "));
        let choices = choices.collect::<Vec<_>>().join(", or ");
        let problem = Problem::Choice {
            section: section.name,
            choices,
        };
        findings.add(node.at, first_words(node), problem);
    }
    Some(fields)
}

fn read(node: &Node, shape: &'static Shape, findings: &mut Findings) -> Option<Typed> {
    let value = match (shape, &node.content) {
        (Shape::Section(keys) | Shape::Either(_, keys), Content::Map(_)) => {
            section(node, keys, findings).map(Value::Section)
        }
        (Shape::Either(plain, _), Content::Scalar { .. }) => return read(node, plain, findings),
        (Shape::List { of, least, most }, Content::List(items)) => {
            if !(*least..=*most).contains(&items.len()) {
                let problem = Problem::ListLength {
                    least: *least,
                    most: *most,
                };
                findings.add(node.at, node.text(), problem);
                return None;
            }
            let sound = items
                .iter()
                .filter_map(|item| read(item, of, findings))
                .collect();
            Some(Value::List(sound, items.len()))
        }
        (_, Content::Scalar { text, .. }) if !node.is_null() => match scalar(text, shape) {
            Some(Ok(value)) => Some(value),
            Some(Err(problem)) => {
                findings.add(node.at, text, problem);
                None
            }
            None => {
                wrong_kind(node, shape, findings);
                None
            }
        },
        _ => {
            wrong_kind(node, shape, findings);
            None
        }
    };
    value.map(|value| Typed {
        at: node.at,
        text: node.text().to_owned(),
        value,
    })
}

/// The value of a plain shape; none where the shape is not plain.
fn scalar(text: &str, shape: &Shape) -> Option<Result<Value, Problem>> {
    Some(match *shape {
        Shape::Name if names::is_name(text) => Ok(Value::Text(text.to_owned())),
        Shape::Name => Err(Problem::BadName),
        Shape::Text => Ok(Value::Text(text.to_owned())),
        Shape::Rate => units::rate(text).map(Value::Rate),
        Shape::Duration { least, most } => units::duration(text, least, most).map(Value::Duration),
        Shape::Size { least, most } => units::size(text, least, most).map(Value::Size),
        Shape::Number { least, most } => units::number(text, least, most).map(Value::Number),
        Shape::Version if text == "1" => Ok(Value::Number(1.0)),
        Shape::Version => Err(Problem::Version),
        Shape::Bits { least, most } => bits(text, least, most).map(Value::Bits),
        Shape::Flag => match text {
            "true" => Ok(Value::Flag(true)),
            "false" => Ok(Value::Flag(false)),
            _ => Err(Problem::Not {
                wanted: "true or false",
                example: "true",
            }),
        },
        Shape::Cidr => cidr(text).map(Value::Cidr),
        Shape::List { .. } | Shape::Section(_) | Shape::Either(..) => return None,
    })
}

fn bits(text: &str, least: u8, most: u8) -> Result<u8, Problem> {
    let not = Problem::Not {
        wanted: "the length of a prefix",
        example: "24",
    };
    let number: u32 = text
        .trim()
        .trim_start_matches('/')
        .parse()
        .ok()
        .ok_or(not)?;
    let fits = u8::try_from(number)
        .ok()
        .filter(|bits| (least..=most).contains(bits));
    fits.ok_or(Problem::OutOfRange {
        least: least.to_string(),
        most: most.to_string(),
    })
}

fn known(name: &Node, section: &'static Section, findings: &mut Findings) -> Option<&'static Key> {
    let key = section.key(name.text());
    if key.is_none() {
        let problem = Problem::UnknownKey {
            section: section.name,
            nearest: nearest(name.text(), section.names()),
            known: spell(section.names(), ", "),
        };
        findings.add(name.at, name.text(), problem);
    }
    key
}

fn wrong_kind(node: &Node, shape: &Shape, findings: &mut Findings) {
    let (found, wanted) = (node.kind(), shape.wanted());
    let problem = Problem::WrongKind {
        found,
        wanted,
        example: shape.example(),
    };
    findings.add(node.at, node.text(), problem);
}

fn missing_example(key: &Key) -> &'static str {
    match key.name {
        "name" => "name: rack-7",
        "up" => "up: 25Gbit",
        "down" => "down: 25Gbit",
        _ => key.shape.example(),
    }
}

/// Where a section begins, the first of its keys shows which one is meant.
fn first_words(node: &Node) -> &str {
    match &node.content {
        Content::Map(entries) => entries.first().map_or("{}", |(key, _)| key.text()),
        _ => node.text(),
    }
}

fn spell<'a>(names: impl Iterator<Item = &'a str>, between: &str) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(between)
}
