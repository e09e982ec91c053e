//! What may stand where: the terms in which the tables of known keys are written.

use std::time::Duration;

/// What a value has to be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// The name of a place.
    Name,
    Text,
    Rate,
    Duration {
        least: Duration,
        most: Duration,
    },
    /// An amount of bytes.
    Size {
        least: u64,
        most: u64,
    },
    Number {
        least: f64,
        most: f64,
    },
    /// The version of the format.
    Version,
    /// The length of a prefix.
    Bits {
        least: u8,
        most: u8,
    },
    Flag,
    Cidr,
    List {
        of: &'static Shape,
        least: usize,
        most: usize,
    },
    Section(&'static Section),
    /// One plain value for all that the section would say apart.
    Either(&'static Shape, &'static Section),
}

/// A group of keys.
#[derive(Debug)]
pub(crate) struct Section {
    /// As a message calls it: "a place".
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
    /// Groups of keys of which exactly one has to be there.
    pub(crate) choices: &'static [&'static [&'static str]],
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) shape: Shape,
    pub(crate) need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    /// What holds without it, in words or as it would be written.
    Default(&'static str),
}

impl Shape {
    pub(crate) fn wanted(&self) -> &'static str {
        match self {
            Self::Name => "the name of a place",
            Self::Text => "a text",
            Self::Rate => "a rate",
            Self::Duration { .. } => "a time",
            Self::Size { .. } => "an amount of bytes",
            Self::Number { .. } => "a number",
            Self::Version => "a version",
            Self::Bits { .. } => "the length of a prefix",
            Self::Flag => "true or false",
            Self::Cidr => "an address prefix",
            Self::List { .. } => "a list",
            Self::Section(_) => "a section of keys",
            Self::Either(..) => "a value or a section of keys",
        }
    }

    pub(crate) fn example(&self) -> &'static str {
        match self {
            Self::Name => "rack-7",
            Self::Text => "rack",
            Self::Rate | Self::Either(..) => "25Gbit",
            Self::Duration { .. } => "10m",
            Self::Size { .. } => "1MiB",
            Self::Number { .. } => "0.5",
            Self::Version => "1",
            Self::Bits { .. } => "24",
            Self::Flag => "true",
            Self::Cidr => "10.0.1.0/24",
            Self::List { of, .. } => match of {
                Self::Cidr => "[10.0.1.0/24]",
                Self::Section(_) => "- name: rack-7",
                _ => "[rack-7, rack-8]",
            },
            Self::Section(section) => section.keys.first().map_or("{}", |key| match key.name {
                "ipv4" => "{ipv4: 24}",
                "prefix" => "{prefix: 0.2}",
                "up" => "{up: 25Gbit}",
                "version" => "version: 1",
                "host_link" => "{host_link: 25Gbit}",
                "weights" => "{half_life: 10m}",
                "between" => "between: [rack-7, rack-8]",
                _ => "name: rack-7",
            }),
        }
    }
}

impl Section {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}
