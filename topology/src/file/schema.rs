//! The JSON Schema of the topology file, for editors. Made from the tables that the reader uses.

use serde_json::{Map, Value, json};

use crate::file::keys::{FILE, LINK, PLACE};
use crate::file::names;
use crate::file::shape::{Key, Need, Section, Shape};

pub(crate) const RATE: &str = "^[0-9]+(\\.[0-9]+)? *(([kKmMgGtT]i?)?(b|bits?|bps|b/s|bits?/s|bit/sec|B/s|Bps|bytes?/s)|[KMGT])$";
pub(crate) const DURATION: &str = "^([0-9]+(\\.[0-9]+)? *(ms|s|sec|m|min|h|d) *)+$";
pub(crate) const SIZE: &str = "^[0-9]+(\\.[0-9]+)? *([kKmMgGtT]i?)?B$";
pub(crate) const CIDR: &str = "^[0-9a-fA-F.:]+/[0-9]{1,3}$";

/// The JSON Schema of the topology file.
pub fn schema() -> Value {
    let mut schema = section(&FILE);
    if let Value::Object(fields) = &mut schema {
        fields.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        fields.insert("title".into(), "Piccolo topology file".into());
        fields.insert(
            "$defs".into(),
            json!({ "place": section(&PLACE), "link": section(&LINK) }),
        );
    }
    schema
}

fn section(section: &Section) -> Value {
    let properties: Map<String, Value> = section
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let needed = section.keys.iter().filter(|key| key.need == Need::Required);
    let required: Vec<_> = needed.map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": section.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if let Value::Object(fields) = &mut schema {
        if !required.is_empty() {
            fields.insert("required".into(), required.into());
        }
        if !section.choices.is_empty() {
            let choices = section
                .choices
                .iter()
                .map(|keys| json!({ "required": keys }));
            fields.insert("oneOf".into(), choices.collect());
        }
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    if let Value::Object(fields) = &mut schema {
        let about = match key.need {
            Need::Default(default) => format!("{} Default: {default}.", key.about),
            Need::Required => key.about.to_owned(),
        };
        fields.insert("description".into(), about.into());
    }
    schema
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Name => json!({ "type": "string", "pattern": names::PATTERN }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Rate => text(RATE, "25Gbit"),
        Shape::Duration { .. } => text(DURATION, "10m"),
        Shape::Size { .. } => text(SIZE, "1MiB"),
        Shape::Number { least, most } => {
            json!({ "type": "number", "minimum": least, "maximum": most })
        }
        Shape::Version => json!({ "type": "integer", "const": 1 }),
        Shape::Bits { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Cidr => text(CIDR, "10.0.1.0/24"),
        Shape::List { of, least, most } => {
            json!({ "type": "array", "items": self::shape(of), "minItems": least, "maxItems": most })
        }
        Shape::Section(keys) if std::ptr::eq(*keys, &raw const PLACE) => {
            json!({ "$ref": "#/$defs/place" })
        }
        Shape::Section(keys) if std::ptr::eq(*keys, &raw const LINK) => {
            json!({ "$ref": "#/$defs/link" })
        }
        Shape::Section(keys) => section(keys),
        Shape::Either(plain, keys) => json!({ "anyOf": [self::shape(plain), section(keys)] }),
    }
}

fn text(pattern: &str, example: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "examples": [example] })
}

#[cfg(test)]
mod tests;
