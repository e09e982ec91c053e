//! Names of keys and groups.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest key in bytes; a digest takes 71, a full tag name rarely more than 150.
pub const MAX_KEY_LEN: usize = 255;
/// Longest group name in bytes.
pub const MAX_GROUP_LEN: usize = 64;

/// Why a text is no key or group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but the empty string.
    #[error("{what} is empty")]
    Empty {
        /// `key` or `group`.
        what: &'static str,
    },
    /// Longer than the limit.
    #[error("{what} is {len} bytes long, at most {max} are taken")]
    TooLong {
        /// `key` or `group`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A control character, which no digest, tag or group has.
    #[error("{what} has a control character at byte {at}")]
    Control {
        /// `key` or `group`.
        what: &'static str,
        /// Where the character stands.
        at: usize,
    },
}

/// What holders are found by: a digest (`sha256:<hex>`) or a full tag name
/// (`registry/repository:tag`). One to [`MAX_KEY_LEN`] bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

/// A set of nodes that share content; finds never leave it. One to [`MAX_GROUP_LEN`] bytes
/// without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(Arc<str>);

fn check(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > max {
        return Err(NameError::TooLong {
            what,
            len: text.len(),
            max,
        });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(NameError::Control { what, at }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($name:ident, $what:literal, $max:expr) => {
        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text, $max)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(Key, "key", MAX_KEY_LEN);
name!(Group, "group", MAX_GROUP_LEN);
