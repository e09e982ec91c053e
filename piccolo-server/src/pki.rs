//! `pki`: a small certificate authority in files, for those who have none.

pub(crate) mod authority;
mod files;
pub(crate) mod subject;

use std::{
    io,
    path::{Path, PathBuf},
};

use daemon::{clock::Clock, tls::Role};

use self::{authority::Authority, subject::Subject};
use crate::config::{PkiFiles, PkiInit, PkiIssue};

/// The authority's own certificate, and its key.
pub(crate) const CA: &str = "ca.crt";
pub(crate) const CA_KEY: &str = "ca.key";
/// A certificate and its key, named as in a Secret of Kubernetes.
pub(crate) const CERTIFICATE: &str = "tls.crt";
pub(crate) const KEY: &str = "tls.key";

/// Why the command made nothing.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file would be overwritten.
    #[error("{} is there already; --replace replaces it", .0.display())]
    There(PathBuf),
    /// A file or directory cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the authority cannot be read.
    #[error("{} cannot be read; `piccolo-server pki init` makes an authority", path.display())]
    Read {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has something else in it.
    #[error("{} has no {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate may sign no other ones.
    #[error("{} is no authority's certificate", .0.display())]
    NoAuthority(PathBuf),
    /// The key is another certificate's.
    #[error("{} is not the key of {}", key.display(), certificate.display())]
    Pair {
        /// The authority's key.
        key: PathBuf,
        /// Its certificate.
        certificate: PathBuf,
    },
    /// What it signed would count for longer than the authority does.
    #[error(
        "{} expires in {left} days, so what it signs counts no longer: --days {left} at most, or another authority", path.display()
    )]
    Late {
        /// The authority's certificate.
        path: PathBuf,
        /// Whole days until it expires.
        left: u64,
    },
    /// It counts no more, or not for a day.
    #[error("{} has expired, or does within a day: make another authority", .0.display())]
    Expired(PathBuf),
    /// The program trusts another authority.
    #[error(
        "{} has other authorities only. If this one is to take their place, add {} to it first; take the others \
         out when all have new certificates", there.display(), ca.display()
    )]
    OtherAuthority {
        /// The file that names what is trusted.
        there: PathBuf,
        /// The authority's certificate.
        ca: PathBuf,
    },
    /// What the certificate is to say cannot be.
    #[error(transparent)]
    Subject(#[from] subject::SubjectError),
    /// A key or a signature could not be made.
    #[error("the certificate cannot be made")]
    Make(#[source] rcgen::Error),
}

/// Runs the command; returns what to tell who ran it.
///
/// # Errors
/// When nothing was made, or not all.
pub fn run(command: &PkiFiles, clock: &Clock) -> Result<String, PkiError> {
    match command {
        PkiFiles::Init(init) => self::init(init, clock),
        PkiFiles::Issue(issue) => self::issue(issue, clock),
    }
}

fn init(init: &PkiInit, clock: &Clock) -> Result<String, PkiError> {
    let made = authority::make(init.days, clock).map_err(PkiError::Make)?;
    let [certificate, key] = [CA, CA_KEY].map(|name| init.directory.join(name));
    files::make_directory(&init.directory)?;
    // Of two at once, the second one fails before it has written anything.
    let pair = [
        (&*key, made.key, files::SECRET),
        (&*certificate, made.certificate, files::PUBLIC),
    ];
    files::write_pair(&pair, init.replace)?;
    Ok(format!(
        "{}: the authority's certificate, until {}. All programs trust it with --tls-ca.\n\
         {}: its key. Who has it can pretend to be anybody: keep it where you issue certificates, and nowhere else.\n",
        certificate.display(),
        made.until,
        key.display()
    ))
}

fn issue(issue: &PkiIssue, clock: &Clock) -> Result<String, PkiError> {
    let subject = Subject::of(issue)?;
    let authority = Authority::read(&issue.directory)?;
    let made = authority.issue(&subject, issue.days, clock)?;
    let beside = || {
        let name = format!("{}-{}", subject.identity.role, subject.identity.name);
        issue.directory.join(name)
    };
    let out = issue.out.clone().unwrap_or_else(beside);
    files::make_directory(&out)?;
    let trusted = out.join(CA);
    let trusts = trusts(&trusted, &authority)?;
    let [certificate, key] = [CERTIFICATE, KEY].map(|name| out.join(name));
    let pair = [
        (&*key, made.key, files::SECRET),
        (&*certificate, made.certificate, files::PUBLIC),
    ];
    files::write_pair(&pair, issue.replace)?;
    if !trusts {
        files::write(&trusted, &authority.pem, files::PUBLIC, false)?;
    }
    Ok(told(&subject, &made.until, &out))
}

/// Whether a program's authorities are there, with this one.
fn trusts(file: &Path, authority: &Authority) -> Result<bool, PkiError> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.contains(authority.pem.trim()) => Ok(true),
        Ok(_) => Err(PkiError::OtherAuthority {
            there: file.to_owned(),
            ca: authority.certificate.clone(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(PkiError::Read {
            path: file.to_owned(),
            source,
        }),
    }
}

fn told(subject: &Subject, until: &str, out: &Path) -> String {
    let identity = &subject.identity;
    let flags = [("cert", CERTIFICATE), ("key", KEY), ("ca", CA)];
    let flags = flags.map(|(flag, file)| format!("--tls-{flag} {}", out.join(file).display()));
    let of = match identity.role {
        Role::Agent => "for pi-agent",
        Role::Server => "for piccolo-server",
        Role::Operator => "for the commands of piccolo-server",
        Role::Reader => "for who reads the metrics",
    };
    format!(
        "{identity}, until {until}; {of}:\n--tls required {}\n",
        flags.join(" ")
    )
}
