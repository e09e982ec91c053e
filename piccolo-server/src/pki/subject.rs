//! What a certificate is to say, checked before anything is made.

use std::net::IpAddr;

use daemon::tls::{Identity, Role};
use piccolo_api::{Group, NameError};
use rcgen::{SanType, string::Ia5String};

use crate::config::PkiIssue;

/// Who a certificate is for.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) identity: Identity,
    pub(crate) names: Vec<SanType>,
}

/// Why there is no such certificate.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// An agent has a group.
    #[error("an agent's certificate needs --group")]
    NoGroup,
    /// Only an agent has one.
    #[error("only an agent's certificate has a group, and not one with --role {0}")]
    Group(Role),
    /// The group's name is none.
    #[error("--group is no group")]
    GroupName(#[source] NameError),
    /// A node's name is one of a host, and a directory's here.
    #[error("--node is {0:?}: letters, digits, and . _ @ - between them are taken, 128 in all")]
    Name(String),
    /// Nobody could find it out.
    #[error(
        "an agent's certificate needs --address: those that it advertises, which the server compares"
    )]
    AgentAddress,
    /// Nobody could call it.
    #[error(
        "a server's certificate needs --address or --host: those by which agents call it, and 127.0.0.1 for its \
         own commands"
    )]
    ServerAddress,
    /// Nobody has such an address.
    #[error("--address {0} is the address of no host")]
    Address(IpAddr),
    /// Only a server is called by name.
    #[error("--host is for a server's certificate, and not for one with --role {0}")]
    Host(Role),
    /// A host's name is none.
    #[error("--host {0:?} is no host's name; addresses are given with --address")]
    HostName(String),
    /// The trust domain is none.
    #[error("--domain {0:?} is no trust domain: small letters, digits, and . _ - are taken")]
    Domain(String),
}

/// Bytes of a name, and of a host's name.
const NAME: usize = 128;
const HOST: usize = 253;

impl Subject {
    pub(crate) fn of(issue: &PkiIssue) -> Result<Self, SubjectError> {
        let role = Role::from(issue.role);
        let identity = Identity {
            role,
            group: group(role, issue.group.as_deref())?,
            name: name(&issue.node)?,
        };
        if role == Role::Agent && issue.address.is_empty() {
            return Err(SubjectError::AgentAddress);
        }
        if role == Role::Server && issue.address.is_empty() && issue.host.is_empty() {
            return Err(SubjectError::ServerAddress);
        }
        if role != Role::Server && !issue.host.is_empty() {
            return Err(SubjectError::Host(role));
        }
        Self::new(identity, &issue.domain, &issue.address, &issue.host)
    }

    /// Who has these addresses and host names.
    pub(crate) fn new(
        identity: Identity,
        domain: &str,
        addresses: &[IpAddr],
        hosts: &[String],
    ) -> Result<Self, SubjectError> {
        let uri = identity.uri(self::domain(domain)?);
        let uri = Ia5String::try_from(uri)
            .map_err(|_not_ascii| SubjectError::Domain(domain.to_owned()))?;
        let mut names = vec![SanType::URI(uri)];
        for address in addresses {
            let address = address.to_canonical();
            let name = SanType::IpAddress(address);
            if address.is_unspecified() || address.is_multicast() {
                return Err(SubjectError::Address(address));
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for host in hosts {
            names.push(SanType::DnsName(self::host(host)?));
        }
        Ok(Self { identity, names })
    }
}

fn group(role: Role, group: Option<&str>) -> Result<String, SubjectError> {
    match (role, group) {
        (Role::Agent, Some(group)) => {
            let group: Group = group.parse().map_err(SubjectError::GroupName)?;
            Ok(group.as_str().to_owned())
        }
        (Role::Agent, None) => Err(SubjectError::NoGroup),
        (Role::Server | Role::Operator | Role::Reader, None) => Ok(String::new()),
        (Role::Server | Role::Operator | Role::Reader, Some(_)) => Err(SubjectError::Group(role)),
    }
}

fn name(name: &str) -> Result<String, SubjectError> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    let has_ends = [name.chars().next(), name.chars().next_back()]
        .iter()
        .all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()));
    if has_ends && name.len() <= NAME && name.chars().all(is_inner) {
        Ok(name.to_owned())
    } else {
        Err(SubjectError::Name(name.to_owned()))
    }
}

/// A DNS name, of which the first label may be `*`.
fn host(host: &str) -> Result<Ia5String, SubjectError> {
    let error = || SubjectError::HostName(host.to_owned());
    let is_label = |label: &str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(is_known)
    };
    let plain = host.strip_prefix("*.").unwrap_or(host);
    let is_address = host.parse::<IpAddr>().is_ok();
    if is_address || host.len() > HOST || !plain.split('.').all(is_label) {
        return Err(error());
    }
    Ia5String::try_from(host).map_err(|_not_ascii| error())
}

fn domain(domain: &str) -> Result<&str, SubjectError> {
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if domain.is_empty() || domain.len() > HOST || !domain.chars().all(is_known) {
        return Err(SubjectError::Domain(domain.to_owned()));
    }
    Ok(domain)
}
