//! A certificate authority of the bed's own, made with `openssl`, and what it certifies.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::exec;
use crate::run::Run;

/// Longer than any run; a machine's clock may also be set back a little.
const DAYS: &str = "7";

/// A new authority, which no program trusts yet. Its files are in the run's directory.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// When `openssl` is missing.
    pub fn new(run: &Run) -> Result<Self> {
        let authority = Self {
            directory: run.make_directory("authority")?,
        };
        let extensions = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign";
        authority
            .request("ca", extensions, &[])
            .context("making an authority")?;
        Ok(authority)
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// The directory that holds nothing but the authority's own certificate, `ca.crt`, and its file.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn public(&self) -> Result<PathBuf> {
        let public = self.directory.join("public");
        fs::create_dir_all(&public).context("making a directory")?;
        fs::copy(self.certificate(), public.join("ca.crt")).context("copying a certificate")?;
        Ok(public)
    }

    /// Certifies a host name or an address, and the host's other addresses.
    ///
    /// # Errors
    ///
    /// What `openssl` says.
    pub fn certify(&self, name: &str, addresses: &[IpAddr]) -> Result<Certificate> {
        let kind = name.parse::<IpAddr>().map_or("DNS", |_| "IP");
        let mut subjects = vec![format!("{kind}:{name}")];
        subjects.extend(addresses.iter().map(|address| format!("IP:{address}")));
        let extensions = format!(
            "basicConstraints = critical, CA:FALSE\nsubjectAltName = {}",
            subjects.join(", ")
        );
        self.request(name, &extensions, &["-CA", "ca.crt", "-CAkey", "ca.key"])
            .with_context(|| format!("certifying {name}"))?;
        Ok(Certificate {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        })
    }

    /// Makes the files `NAME.key` and `NAME.crt`.
    fn request(&self, name: &str, extensions: &str, signed_by: &[&str]) -> Result<()> {
        let file = |ending| format!("{name}.{ending}");
        let text = format!(
            "[req]\ndistinguished_name = subject\nprompt = no\n[subject]\nCN = {name}\n[extensions]\n{extensions}\n"
        );
        fs::write(self.directory.join(file("cnf")), text)
            .context("writing what a certificate is to say")?;
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(&self.directory)
            .args(["req", "-x509", "-days", DAYS, "-extensions", "extensions"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-config", &file("cnf")])
            .args(signed_by)
            .args(["-keyout", &file("key"), "-out", &file("crt")]);
        exec::run(&mut openssl).map(drop)
    }
}
