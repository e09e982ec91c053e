//! What is read of a certificate whose signature was checked.

use std::{net::IpAddr, time::Duration};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

use super::identity::{Identity, IdentityError};

/// The owner of a certificate, where it is, and until when that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who it is.
    pub identity: Identity,
    /// The addresses that it has.
    pub addresses: Vec<IpAddr>,
    /// When the certificate began to count, since the Unix epoch.
    pub begins: Duration,
    /// When it expires.
    pub expires: Duration,
}

/// Why a certificate says nothing that counts here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It is no certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// It has no URI name of Piccolo.
    #[error(
        "the certificate has no URI name that says who it is for \
         (spiffe://DOMAIN/piccolo/agent/GROUP/NODE, spiffe://DOMAIN/piccolo/server/NAME)"
    )]
    Nameless,
    /// Two of them.
    #[error("the certificate has more than one URI name of Piccolo")]
    Ambiguous,
    /// One that is not understood.
    #[error("the certificate's URI name is not understood")]
    Identity(#[from] IdentityError),
}

impl Leaf {
    /// Reads the owner's certificate, which is the first of its chain.
    ///
    /// # Errors
    /// When there is none, or it does not say who its owner is.
    pub fn of(chain: &[CertificateDer<'_>]) -> Result<Self, LeafError> {
        chain
            .first()
            .ok_or(LeafError::Nameless)
            .and_then(Self::read)
    }

    fn read(certificate: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let (_rest, certificate) =
            X509Certificate::from_der(certificate).map_err(|_malformed| LeafError::Malformed)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_malformed| LeafError::Malformed)?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let mut identity = None;
        let mut addresses = Vec::new();
        for name in names {
            match name {
                GeneralName::URI(uri) => {
                    let said = match uri.parse::<Identity>() {
                        // A certificate may have names for others as well.
                        Err(IdentityError::Other(_)) => continue,
                        said => said?,
                    };
                    if identity.replace(said).is_some() {
                        return Err(LeafError::Ambiguous);
                    }
                }
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        let validity = certificate.validity();
        let since_epoch = |time: ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            Duration::from_secs(seconds)
        };
        Ok(Self {
            identity: identity.ok_or(LeafError::Nameless)?,
            addresses,
            begins: since_epoch(validity.not_before),
            expires: since_epoch(validity.not_after),
        })
    }

    /// Whether it is a certificate for this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(sixteen).to_canonical())
}
