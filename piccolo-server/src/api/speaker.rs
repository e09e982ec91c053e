//! Who makes a call: its address, and what its connection has shown.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use daemon::tls::{Identity, Role, Shown};
use http::{Extensions, StatusCode};

use crate::api::Api;

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Speaker {
    pub(crate) address: SocketAddr,
    pub(crate) shown: Shown,
}

/// Why somebody may not say that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpeakerError {
    #[error(
        "this server takes calls of nodes with a certificate only, and this one shows none (--tls)"
    )]
    Nobody,
    #[error(
        "{0} has shown a certificate before, and is not believed without until that has expired \
         (--tls permissive)"
    )]
    Stripped(IpAddr),
    #[error("the certificate is one of {is}, and this call needs the role {role}")]
    Role { is: String, role: Role },
    #[error("the certificate is one of {is}, and the call is about group {group}")]
    Group { is: String, group: String },
    #[error("the certificate of {is} is not for {address}")]
    Address { is: String, address: IpAddr },
}

impl Speaker {
    /// Who makes the call that these belong to.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        let ConnectInfo(address) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        let shown = extensions.get::<Shown>();
        Some(Self {
            address: *address,
            shown: shown.cloned().unwrap_or(Shown::Plain),
        })
    }

    pub(crate) fn of_request(request: &Request) -> Option<Self> {
        Self::of(request.extensions())
    }

    /// Whether its certificate says that it is the node at `address`.
    pub(crate) fn proves(&self, address: IpAddr) -> bool {
        let leaf = self.shown.leaf();
        leaf.is_some_and(|leaf| leaf.identity.role == Role::Agent && leaf.has(address))
    }

    /// Whether it may speak for the node of `group` at `address`, or for whatever node where the call does
    /// not say.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn may_speak(
        &self,
        api: &Api,
        group: &str,
        address: Option<IpAddr>,
    ) -> Result<(), SpeakerError> {
        let leaf = match &self.shown {
            Shown::Certificate(leaf) => leaf,
            Shown::Nothing => return Err(SpeakerError::Nobody),
            Shown::Plain => {
                let address = address.unwrap_or(self.address.ip()).to_canonical();
                return if api.tls.takes_plain(&address.to_string()) {
                    Ok(())
                } else {
                    Err(SpeakerError::Stripped(address))
                };
            }
        };
        is_role(&leaf.identity, Role::Agent)?;
        let is = || leaf.identity.to_string();
        if leaf.identity.group != group {
            let group = group.to_owned();
            return Err(SpeakerError::Group { is: is(), group });
        }
        let Some(address) = address else {
            return Ok(());
        };
        if !leaf.has(address) {
            return Err(SpeakerError::Address { is: is(), address });
        }
        api.tls.note(&address.to_canonical().to_string(), leaf);
        Ok(())
    }

    /// Whether it may speak as another instance of the server.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn may_pass_on(&self, api: &Api) -> Result<(), SpeakerError> {
        match &self.shown {
            Shown::Certificate(leaf) => is_role(&leaf.identity, Role::Server),
            Shown::Nothing => Err(SpeakerError::Nobody),
            Shown::Plain
                if api
                    .tls
                    .takes_plain(&self.address.ip().to_canonical().to_string()) =>
            {
                Ok(())
            }
            Shown::Plain => Err(SpeakerError::Stripped(self.address.ip().to_canonical())),
        }
    }
}

fn is_role(identity: &Identity, role: Role) -> Result<(), SpeakerError> {
    if identity.role == role {
        return Ok(());
    }
    let is = identity.to_string();
    Err(SpeakerError::Role { is, role })
}

impl SpeakerError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Nobody => StatusCode::UNAUTHORIZED,
            Self::Stripped(_) | Self::Role { .. } | Self::Group { .. } | Self::Address { .. } => {
                StatusCode::FORBIDDEN
            }
        }
    }
}
