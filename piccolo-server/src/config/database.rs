//! `[GROUP=]URL`: a database, and the group that it is for.

use std::{fmt, path::PathBuf, str::FromStr};

use piccolo_api::Group;

/// A database, for one group or for those that have none of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDatabase {
    /// The group; none for all others.
    pub group: Option<Group>,
    /// Where it is.
    pub address: Address,
}

/// Where a database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Sqlite(PathBuf),
}

/// Why a text names no database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// An unknown kind of database.
    #[error(
        "a database is sqlite:FILE or mysql://USER:PASSWORD@HOST/NAME, with GROUP= before it where it is for one group"
    )]
    Scheme,
    /// What stands before the `=` is no group.
    #[error("{0}")]
    Group(#[from] piccolo_api::NameError),
    /// No file is named.
    #[error("sqlite: needs a file")]
    NoFile,
}

impl FromStr for GroupDatabase {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        // A URL may have a `=` in its query, but only after its scheme.
        let scheme = text.find(':').ok_or(DatabaseError::Scheme)?;
        match text.find('=').filter(|at| *at < scheme) {
            Some(at) => {
                let (group, url) = text.split_at(at);
                let group = Some(group.parse()?);
                Ok(Self {
                    group,
                    address: url.trim_start_matches('=').parse()?,
                })
            }
            None => Ok(Self {
                group: None,
                address: text.parse()?,
            }),
        }
    }
}

impl FromStr for Address {
    type Err = DatabaseError;

    fn from_str(url: &str) -> Result<Self, DatabaseError> {
        let file = url.strip_prefix("sqlite:").ok_or(DatabaseError::Scheme)?;
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() {
            return Err(DatabaseError::NoFile);
        }
        Ok(Self::Sqlite(file.into()))
    }
}

/// Without a password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
