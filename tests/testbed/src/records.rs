//! A client of TLS that sends records which no library sends.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Result, bail};
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    SupportedCipherSuite,
    crypto::{
        CryptoProvider,
        cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
        ring::{self, cipher_suite::TLS13_AES_128_GCM_SHA256},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::Certificate;

/// The client's side of a connection.
#[expect(missing_debug_implementations, reason = "what encrypts has none")]
pub struct Records {
    tcp: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Records {
    /// Connects, and makes the handshake by this certificate.
    ///
    /// # Errors
    /// When there is no connection, or no handshake.
    pub async fn connect(
        address: SocketAddr,
        own: &Certificate,
        authorities: &Path,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authorities)?)?;
        let chain = CertificateDer::pem_file_iter(&own.certificate)?;
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let provider = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&own.key)?)?;
        config.enable_secret_extraction = true;
        let name = ServerName::IpAddress(address.ip().into());
        let tcp = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        let (tcp, session) = connector.connect(name, tcp).await?.into_inner();
        let (sequence, secrets) = session.dangerous_extract_secrets()?.tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }, SupportedCipherSuite::Tls13(suite)) =
            (secrets, TLS13_AES_128_GCM_SHA256)
        else {
            bail!("another cipher");
        };
        let encrypter = suite.aead_alg.encrypter(key, iv);
        Ok(Self {
            tcp,
            encrypter,
            sequence,
        })
    }

    /// Sends a record with a part of a handshake's message, as which one may be sent at any time.
    ///
    /// # Errors
    /// When the other side takes none.
    pub async fn send_handshake(&mut self, part: &[u8]) -> Result<()> {
        self.send(ContentType::Handshake, part).await
    }

    /// Sends a record of plaintext.
    ///
    /// # Errors
    /// When the other side takes none.
    pub async fn send_data(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(ContentType::ApplicationData, bytes).await
    }

    /// Reads until the other side ends the connection, and gives how many bytes came.
    pub async fn read_to_end(&mut self) -> usize {
        let mut came = 0;
        while let Ok(count @ 1..) = self.tcp.read(&mut [0; 4096]).await {
            came += count;
        }
        came
    }

    async fn send(&mut self, typ: ContentType, bytes: &[u8]) -> Result<()> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(bytes),
        };
        let record = self.encrypter.encrypt(message, self.sequence)?.encode();
        self.sequence += 1;
        self.tcp.write_all(&record).await?;
        Ok(())
    }
}
