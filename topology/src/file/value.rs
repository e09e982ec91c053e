//! Typed values of the file, each with the place where it stands.

use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::Rate;
use crate::file::error::At;

/// A value of the right shape.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub(crate) at: At,
    pub(crate) text: String,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Rate(Rate),
    Duration(Duration),
    Size(u64),
    Number(f64),
    Bits(u8),
    Flag(bool),
    Cidr(IpNetwork),
    /// The sound items, and how many there are in all.
    List(Vec<Typed>, usize),
    Section(Fields),
}

/// The sound values of a section. What is missing was left out or is reported already.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) at: At,
    pub(crate) entries: Vec<(&'static str, Typed)>,
    /// The known keys that are present, with valid values or not.
    pub(crate) present: Vec<&'static str>,
}

impl Fields {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.present.contains(&key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Typed> {
        self.entries
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, typed)| typed)
    }

    pub(crate) fn section(&self, key: &str) -> Option<&Fields> {
        self.get(key)?.section()
    }

    pub(crate) fn list(&self, key: &str) -> &[Typed] {
        match self.get(key) {
            Some(Typed {
                value: Value::List(items, _),
                ..
            }) => items,
            _ => &[],
        }
    }

    /// Whether there is nothing in that list, be it left out or empty; a wrong one counts as full.
    pub(crate) fn lacks(&self, key: &str) -> bool {
        match self.get(key) {
            Some(typed) => matches!(typed.value, Value::List(_, 0)),
            None => !self.has(key),
        }
    }

    pub(crate) fn rate(&self, key: &str) -> Option<Rate> {
        match self.get(key)?.value {
            Value::Rate(rate) => Some(rate),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key)?.value {
            Value::Duration(time) => Some(time),
            _ => None,
        }
    }

    pub(crate) fn size(&self, key: &str) -> Option<u64> {
        match self.get(key)?.value {
            Value::Size(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn bits(&self, key: &str) -> Option<u8> {
        match self.get(key)?.value {
            Value::Bits(bits) => Some(bits),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }
}

impl Typed {
    pub(crate) fn section(&self) -> Option<&Fields> {
        match &self.value {
            Value::Section(fields) => Some(fields),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn cidr(&self) -> Option<IpNetwork> {
        match self.value {
            Value::Cidr(cidr) => Some(cidr),
            _ => None,
        }
    }
}
