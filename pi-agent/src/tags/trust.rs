//! The certificate authorities trusted when a registry is asked over HTTPS.
//!
//! The machine's own authorities, and those that the operators name. The agent works without
//! missing certificates: it cannot ask that registry, and containerd does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use daemon::{
    access::{Need, explain},
    telemetry::chain,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject as _},
    },
};
use tracing::warn;

/// Why a file gives no authorities.
#[derive(Debug, thiserror::Error)]
enum AuthoritiesError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no PEM.
    #[error("{} is no PEM file", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    /// There is none in it.
    #[error("{} has no certificate in it (BEGIN CERTIFICATE)", .0.display())]
    Empty(PathBuf),
    /// One of them is none.
    #[error("certificate {number} of {} is no authority", path.display())]
    Certificate {
        path: PathBuf,
        number: usize,
        #[source]
        source: rustls::Error,
    },
}

/// How registries are talked to over TLS. `file` names authorities besides the machine's.
pub(super) fn config(file: Option<&Path>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        warn!(%error, "some of this machine's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(file) = file
        && let Err(error) = add(&mut roots, file)
    {
        warn!(
            error = %chain(&error),
            "--registry-ca gives no authorities: the tags of registries that need them are left to containerd"
        );
    }
    if roots.is_empty() {
        warn!(
            "no certificate authorities are found on this machine: tags of registries over HTTPS are left to \
             containerd; install ca-certificates, or name a PEM file with --registry-ca"
        );
    }
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows the ciphers of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// All of the file or nothing.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), AuthoritiesError> {
    let text = fs::read(path).map_err(|error| AuthoritiesError::Read {
        path: path.to_owned(),
        source: explain(error, path, Need::Read),
    })?;
    let mut found = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&text).enumerate() {
        let certificate = certificate.map_err(|source| AuthoritiesError::Pem {
            path: path.to_owned(),
            source,
        })?;
        let added = found.add(certificate);
        added.map_err(|source| AuthoritiesError::Certificate {
            path: path.to_owned(),
            number: index + 1,
            source,
        })?;
    }
    if found.is_empty() {
        return Err(AuthoritiesError::Empty(path.to_owned()));
    }
    roots.extend(found.roots);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rustls::RootCertStore;

    use super::add;

    fn check(text: Option<&str>, wanted: &str) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let mut roots = RootCertStore::empty();
        let error = add(&mut roots, &file).unwrap_err().to_string();
        let place = file.display().to_string();
        assert!(error.contains(&place) && error.contains(wanted), "{error}");
        assert!(roots.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        check(None, "cannot be read");
        check(Some(""), "no certificate");
        check(Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "no PEM");
        let none = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(Some(none), "certificate 1 of");
        assert!(add(&mut RootCertStore::empty(), Path::new("/")).is_err());
    }
}
