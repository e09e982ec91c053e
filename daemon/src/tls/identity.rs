//! Who the owner of a certificate is: what the URI name in it says.

use std::{fmt, str::FromStr};

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode,
};

/// What the owner of a certificate does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node's agent.
    Agent,
    /// An instance of the server.
    Server,
    /// A person, or a program, that may change things.
    Operator,
    /// One that may only look.
    Reader,
}

/// Who the owner of a certificate is.
///
/// As a URI it is `spiffe://DOMAIN/piccolo/agent/GROUP/NODE`, or `spiffe://DOMAIN/piccolo/ROLE/NAME` for
/// the other roles. The domain may be any: the authority that signed it is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it does.
    pub role: Role,
    /// The group of an agent; empty for other roles.
    pub group: String,
    /// The node's name, or that of a server or a person.
    pub name: String,
}

/// Why a URI is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is another kind of name.
    #[error("{0} is no spiffe://DOMAIN/piccolo/ROLE/...")]
    Other(String),
    /// No such role.
    #[error("{0} has a role that is none of agent, server, operator, reader")]
    Role(String),
    /// Too few or too many parts, or an empty one.
    #[error(
        "{0} is neither spiffe://DOMAIN/piccolo/agent/GROUP/NODE nor spiffe://DOMAIN/piccolo/ROLE/NAME"
    )]
    Parts(String),
}

impl Role {
    /// As it stands in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Server => "server",
            Self::Operator => "operator",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Identity {
    /// The URI that says so.
    pub fn uri(&self, domain: &str) -> String {
        let role = self.role.as_str();
        let name = escaped(&self.name);
        match self.role {
            Role::Agent => {
                let group = escaped(&self.group);
                format!("spiffe://{domain}/piccolo/{role}/{group}/{name}")
            }
            Role::Server | Role::Operator | Role::Reader => {
                format!("spiffe://{domain}/piccolo/{role}/{name}")
            }
        }
    }
}

/// All but what stands for itself in every part of a URI.
fn escaped(text: &str) -> PercentEncode<'_> {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, ESCAPED)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, group, name } = self;
        match role {
            Role::Agent => write!(f, "{role} {name} of group {group}"),
            Role::Server | Role::Operator | Role::Reader => write!(f, "{role} {name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let other = || IdentityError::Other(uri.to_owned());
        let path = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'));
        let (_domain, path) = path
            .filter(|(domain, _)| !domain.is_empty())
            .ok_or_else(other)?;
        let parts = path.strip_prefix("piccolo/").ok_or_else(other)?;
        let (role, parts) = parts.split_once('/').unwrap_or((parts, ""));
        let role = match role {
            "agent" => Role::Agent,
            "server" => Role::Server,
            "operator" => Role::Operator,
            "reader" => Role::Reader,
            _ => return Err(IdentityError::Role(uri.to_owned())),
        };
        let wrong = || IdentityError::Parts(uri.to_owned());
        let decoded: Option<Vec<String>> = parts
            .split('/')
            .map(|part| {
                percent_decode_str(part)
                    .decode_utf8()
                    .ok()
                    .map(String::from)
            })
            .collect();
        let decoded = decoded.filter(|parts| parts.iter().all(|part| !part.is_empty()));
        let (group, name) = match (role, decoded.ok_or_else(wrong)?.as_slice()) {
            (Role::Agent, [group, name]) => (group.clone(), name.clone()),
            (Role::Server | Role::Operator | Role::Reader, [name]) => (String::new(), name.clone()),
            _ => return Err(wrong()),
        };
        Ok(Self { role, group, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_a_group_and_a_node() {
        let agent: Identity = "spiffe://c/piccolo/agent/gpu%2Fa/n-1"
            .parse()
            .expect("an identity");
        assert_eq!(
            agent,
            Identity {
                role: Role::Agent,
                group: "gpu/a".to_owned(),
                name: "n-1".to_owned()
            }
        );
        let server: Identity = "spiffe://c/piccolo/server/one"
            .parse()
            .expect("an identity");
        assert_eq!((server.role, server.name.as_str()), (Role::Server, "one"));
    }

    #[test]
    fn a_uri_says_who_it_is() {
        let of = |role, group: &str, name: &str| Identity {
            role,
            group: group.to_owned(),
            name: name.to_owned(),
        };
        for identity in [
            of(Role::Agent, "gpu/a b%\u{e9}", "n-1.example"),
            of(Role::Server, "", "one"),
            of(Role::Operator, "", "a@b"),
            of(Role::Reader, "", "p"),
        ] {
            let uri = identity.uri("c");
            assert!(uri.is_ascii(), "{uri}");
            assert_eq!(uri.parse(), Ok(identity), "{uri}");
        }
    }

    #[test]
    fn what_says_less_or_more_is_no_identity() {
        let parse = str::parse::<Identity>;
        let other = [
            "",
            "https://c/piccolo/server/a",
            "spiffe:///piccolo/server/a",
            "spiffe://c/ns/a/sa/b",
        ];
        for uri in other {
            assert!(matches!(parse(uri), Err(IdentityError::Other(_))), "{uri}");
        }
        assert!(matches!(
            parse("spiffe://c/piccolo/root/a"),
            Err(IdentityError::Role(_))
        ));
        let parts = [
            "spiffe://c/piccolo/agent/g",
            "spiffe://c/piccolo/agent/g/",
            "spiffe://c/piccolo/agent//n",
            "spiffe://c/piccolo/agent/g/n/m",
            "spiffe://c/piccolo/server",
            "spiffe://c/piccolo/server/a/b",
            "spiffe://c/piccolo/server/%ff",
        ];
        for uri in parts {
            assert!(matches!(parse(uri), Err(IdentityError::Parts(_))), "{uri}");
        }
    }
}
