//! Who makes a call: its address, and what its connection has shown.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use daemon::{
    metric::Metric,
    tls::{Identity, Role, Shown},
};
use http::StatusCode;
use metrics::counter;
use tracing::warn;

use crate::api::Api;

const REFUSED: &str = "piccolo_server_identities_refused_total";

/// What this module counts.
pub(super) const METRIC: Metric = Metric::counter(
    REFUSED,
    &[(
        "reason",
        "`nobody` (TLS without a certificate), `stripped` (plain, from who has shown one before), `role`, \
         `group`, `address` (the certificate is for another one)",
    )],
    "Calls of nodes and instances that were refused for who made them.",
);

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
    /// Who makes a call.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let extensions = request.extensions();
        let ConnectInfo(address) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        let shown = extensions.get::<Shown>();
        Some(Self {
            address: *address,
            shown: shown.cloned().unwrap_or(Shown::Plain),
        })
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
    /// When it may not. That is counted and logged.
    pub(crate) fn may_speak(
        &self,
        api: &Api,
        group: &str,
        address: Option<IpAddr>,
    ) -> Result<(), SpeakerError> {
        self.told(
            api,
            self.judge(api, group, address.map(|ip| ip.to_canonical())),
        )
    }

    fn judge(&self, api: &Api, group: &str, address: Option<IpAddr>) -> Result<(), SpeakerError> {
        let leaf = match &self.shown {
            Shown::Certificate(leaf) => leaf,
            Shown::Nothing => return Err(SpeakerError::Nobody),
            Shown::Plain => {
                let address = address.unwrap_or(self.address.ip().to_canonical());
                return if api.tls.takes_plain(format_args!("{group}/{address}")) {
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
        api.tls.note(&format!("{group}/{address}"), leaf);
        Ok(())
    }

    /// Whether it may speak as another instance of the server, beside knowing the secret of this one.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub(crate) fn may_pass_on(&self, api: &Api) -> Result<(), SpeakerError> {
        let judged = match &self.shown {
            Shown::Certificate(leaf) => is_role(&leaf.identity, Role::Server),
            Shown::Nothing => Err(SpeakerError::Nobody),
            // Its secret is as good as before TLS.
            Shown::Plain => Ok(()),
        };
        self.told(api, judged)
    }

    fn told(&self, api: &Api, judged: Result<(), SpeakerError>) -> Result<(), SpeakerError> {
        match &judged {
            Ok(()) => api.impostors.is_well(),
            Err(error) => {
                counter!(REFUSED, "reason" => error.reason()).increment(1);
                api.impostors.happened(|times| {
                    let caller = self.address;
                    warn!(%caller, %error, times, "a call was refused for who made it");
                });
            }
        }
        judged
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
    fn reason(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Stripped(_) => "stripped",
            Self::Role { .. } => "role",
            Self::Group { .. } => "group",
            Self::Address { .. } => "address",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Nobody => StatusCode::UNAUTHORIZED,
            Self::Stripped(_) | Self::Role { .. } | Self::Group { .. } | Self::Address { .. } => {
                StatusCode::FORBIDDEN
            }
        }
    }
}
