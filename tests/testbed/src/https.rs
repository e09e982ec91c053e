//! The same client over TLS, with a certificate or without.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};

use crate::{
    authority::{Authority, Certificate},
    http::{Answer, Request, connect, exchange},
    netns::Netns,
};

/// Calls over TLS.
#[derive(Clone, Debug)]
pub struct Https(Arc<ClientConfig>);

impl Https {
    /// Trusts that authority, and shows `own`.
    ///
    /// # Errors
    ///
    /// When a file is none that TLS can use.
    pub fn new(authority: &Authority, own: Option<&Certificate>) -> Result<Self> {
        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from_pem_file(authority.certificate())?)?;
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(trusted);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_file_iter(&own.certificate)?;
                let key = PrivateKeyDer::from_pem_file(&own.key)?;
                config.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// Gets a page from inside a namespace, with these headers.
    ///
    /// # Errors
    ///
    /// When there is no answer in time, or the other side is not certified for the address.
    pub fn get(
        &self,
        netns: &Netns,
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
        let name = ServerName::IpAddress(address.ip().into());
        let connection = ClientConnection::new(Arc::clone(&self.0), name)?;
        let stream = StreamOwned::new(connection, connect(netns, address)?);
        let request = Request {
            method: "GET",
            target,
            headers,
        };
        exchange(stream, address, request, &mut io::empty(), 0)
            .with_context(|| format!("GET https://{address}{target}"))
    }
}
