//! `[GROUP=]URL`: a database, and the group that it is for.

use std::{borrow::Cow, ffi::OsStr, fmt, fs, path::PathBuf, str::FromStr};

use clap::{builder::TypedValueParser, error::ErrorKind};
use piccolo_api::Group;
use sqlx::{ConnectOptions as _, mysql::MySqlConnectOptions};

/// A database, for one group or for those that have none of their own.
#[derive(Debug, Clone)]
pub struct GroupDatabase {
    /// The group; none for all others.
    pub group: Option<Group>,
    /// Where it is.
    pub address: Address,
}

/// Where a database is.
#[derive(Clone)]
pub enum Address {
    /// A file.
    Sqlite(PathBuf),
    /// A MySQL or MariaDB server.
    MySql(Box<MySqlConnectOptions>),
}

/// Why a text names no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// An unknown kind of database.
    #[error(
        "a database is sqlite:FILE or mysql://USER:PASSWORD@HOST/NAME, with GROUP= before it where it is for one group"
    )]
    Scheme,
    /// What stands before the `=` is no group.
    #[error(transparent)]
    Group(#[from] piccolo_api::NameError),
    /// No file is named.
    #[error("sqlite: needs a file")]
    NoFile,
    /// Where the password ends is not certain, so nothing of the URL may be shown.
    #[error(
        "the database's URL has an @ behind the host, or a password with a /, ?, # or blank in it: write \
         these as %40, %2F, %3F, %23 and %20"
    )]
    Ambiguous,
    /// A URL that is none, or has options that are not known.
    #[error("the database's URL is not understood: {0}")]
    Url(sqlx::Error),
    /// No database is named on the server.
    #[error("mysql: needs the name of a database after the host")]
    NoName,
}

/// Databases of a file.
#[derive(Debug, Clone)]
pub struct DatabaseFile(Vec<GroupDatabase>);

/// Why a file names no databases.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseFileError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// Nothing stands in it.
    #[error("no database stands in it")]
    Empty,
    /// A line is wrong.
    #[error("line {line}: {error}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        error: DatabaseError,
    },
}

impl DatabaseFile {
    /// At least one.
    pub fn databases(&self) -> &[GroupDatabase] {
        &self.0
    }
}

impl FromStr for DatabaseFile {
    type Err = DatabaseFileError;

    /// Reads the file of that path.
    fn from_str(path: &str) -> Result<Self, DatabaseFileError> {
        let text = fs::read_to_string(path)?;
        let databases = text.lines().enumerate().filter_map(|(number, line)| {
            let line = line.trim();
            let is_said = !line.is_empty() && !line.starts_with('#');
            is_said.then(|| {
                line.parse().map_err(|error| DatabaseFileError::Line {
                    line: number + 1,
                    error,
                })
            })
        });
        let databases = databases.collect::<Result<Vec<_>, _>>()?;
        if databases.is_empty() {
            return Err(DatabaseFileError::Empty);
        }
        Ok(Self(databases))
    }
}

/// Parses a database. An error does not repeat the value, which may have a password in it.
#[derive(Debug, Clone)]
pub(super) struct GroupDatabaseParser;

impl TypedValueParser for GroupDatabaseParser {
    type Value = GroupDatabase;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<GroupDatabase, clap::Error> {
        let parsed = value.to_str().ok_or(DatabaseError::Scheme);
        parsed.and_then(str::parse).map_err(|error| {
            let argument = argument.map(ToString::to_string).unwrap_or_default();
            let says = format!("invalid value for '{argument}': {error}");
            clap::Error::raw(ErrorKind::ValueValidation, says).with_cmd(command)
        })
    }
}

impl FromStr for GroupDatabase {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        // A URL may have a `=` in its query, but only after its scheme.
        let scheme = text.find(':').ok_or(DatabaseError::Scheme)?;
        match text.find('=').filter(|at| *at < scheme) {
            Some(at) => {
                let (group, url) = text.split_at(at);
                // It may be the rest of a password with a blank, and of what stands before it.
                if group.contains('@') {
                    return Err(DatabaseError::Ambiguous);
                }
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
        let rest = ["mysql://", "mariadb://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        if let Some(rest) = rest {
            if is_ambiguous(rest) {
                return Err(DatabaseError::Ambiguous);
            }
            let options: MySqlConnectOptions = format!("mysql://{rest}")
                .parse()
                .map_err(DatabaseError::Url)?;
            return match options.get_database() {
                Some(_) => Ok(Self::MySql(Box::new(options))),
                None => Err(DatabaseError::NoName),
            };
        }
        let file = url.strip_prefix("sqlite:").ok_or(DatabaseError::Scheme)?;
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() {
            return Err(DatabaseError::NoFile);
        }
        Ok(Self::Sqlite(file.into()))
    }
}

/// Whether some of a password could be taken for what comes behind the host: a URL's host ends at the first
/// of these characters, and the `@` behind a password is only looked for before. Where a blank in a password
/// has cut the URL off, there is no `@`, but a colon without a port.
fn is_ambiguous(url: &str) -> bool {
    let (host, behind) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
    behind.contains('@') || host.ends_with(':')
}

impl Address {
    /// Options of its URL that name files, and the files.
    pub(crate) fn files(&self) -> Vec<(&'static str, String)> {
        const OPTIONS: [&str; 3] = ["ssl-ca", "ssl-cert", "ssl-key"];
        let Self::MySql(options) = self else {
            return Vec::new();
        };
        let url = options.to_url_lossy();
        let file = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            let option = OPTIONS.into_iter().find(|option| *option == name)?;
            // What has none of these words is the certificate itself.
            Some((option, value.strip_prefix("file: ")?.to_owned()))
        };
        url.query_pairs().filter_map(file).collect()
    }
}

/// Without a password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Self::MySql(options) => {
                let name = options.get_database().unwrap_or_default();
                match options.get_socket() {
                    Some(socket) => write!(f, "mysql:{}/{name}", socket.display()),
                    None => write!(
                        f,
                        "mysql://{}:{}/{name}",
                        options.get_host(),
                        options.get_port()
                    ),
                }
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
