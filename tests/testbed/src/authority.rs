//! A certificate authority of the bed, and what it certifies.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::exec;
use crate::run::Run;

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

/// A new authority, which no program trusts yet.
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
        let directory = run.make_directory("authority")?;
        let mut openssl = openssl(&directory, "req");
        openssl.args(["-x509", "-subj", "/CN=authority of the bed", "-days", "2"]);
        openssl
            .args(KEY)
            .args(["-keyout", "ca.key", "-out", "ca.crt"]);
        exec::run(&mut openssl).context("making an authority")?;
        Ok(Self { directory })
    }

    /// The directory that holds nothing but the authority's own certificate, `ca.crt`, and its file.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn public(&self) -> Result<PathBuf> {
        let public = self.directory.join("public");
        fs::create_dir_all(&public).context("making a directory")?;
        fs::copy(self.directory.join("ca.crt"), public.join("ca.crt"))
            .context("copying a certificate")?;
        Ok(public)
    }

    /// Certifies a host name, or an address.
    ///
    /// # Errors
    ///
    /// What `openssl` says.
    pub fn certify(&self, name: &str) -> Result<Certificate> {
        let file = |ending: &str| format!("{name}.{ending}");
        let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
        let mut ask = openssl(&self.directory, "req");
        ask.args(["-new", "-subj", &format!("/CN={name}")])
            .args(KEY);
        exec::run(ask.args(["-keyout", &key, "-out", &request])).context("making a key")?;
        let extensions = file("ext");
        let kind = name.parse::<IpAddr>().map_or("DNS", |_| "IP");
        fs::write(
            self.directory.join(&extensions),
            format!("subjectAltName={kind}:{name}\n"),
        )
        .context("writing a certificate's name")?;
        let mut sign = openssl(&self.directory, "x509");
        sign.args(["-req", "-days", "2", "-CA", "ca.crt", "-CAkey", "ca.key"]);
        sign.args(["-CAcreateserial", "-extfile", &extensions]);
        exec::run(sign.args(["-in", &request, "-out", &certificate])).context("certifying")?;
        Ok(Certificate {
            certificate: self.directory.join(certificate),
            key: self.directory.join(key),
        })
    }
}

fn openssl(directory: &Path, command: &str) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.arg(command).current_dir(directory);
    openssl
}
