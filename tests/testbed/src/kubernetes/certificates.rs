//! A certificate authority of the bed's own, made with `openssl`.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::authority::Certificate;
use crate::exec::run;
use crate::run::Run;

/// Long enough for any run; a machine's clock may also be set back a little.
const DAYS: &str = "7";

/// An authority, whose files are in the run's directory.
#[derive(Debug)]
pub(super) struct Authority {
    directory: PathBuf,
}

impl Authority {
    pub(super) fn create(run: &Run) -> Result<Self> {
        let authority = Self {
            directory: run.make_directory("certificates")?,
        };
        let extensions = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign";
        authority.request("authority", extensions, &[])?;
        Ok(authority)
    }

    /// Its certificate, in PEM.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.join("authority.crt")
    }

    /// Certifies that a host is what it says it is.
    pub(super) fn identity(&self, name: &str, address: IpAddr) -> Result<Certificate> {
        let extensions = format!(
            "basicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:{name}, IP:{address}"
        );
        let (certificate, key) = (self.certificate(), self.directory.join("authority.key"));
        let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
        self.request(name, &extensions, &["-CA", &certificate, "-CAkey", &key])?;
        Ok(Certificate {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        })
    }

    /// A key to sign with.
    pub(super) fn signing_key(run_of: &Run, name: &str) -> Result<PathBuf> {
        let path = run_of.directory().join(format!("{name}.key"));
        run(Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&path)
            .arg("2048"))?;
        Ok(path)
    }

    fn request(&self, name: &str, extensions: &str, signed_by: &[&str]) -> Result<()> {
        let config = self.directory.join(format!("{name}.cnf"));
        let text = format!(
            "[req]\ndistinguished_name = subject\nprompt = no\n[subject]\nCN = {name}\n[extensions]\n{extensions}\n"
        );
        fs::write(&config, text).context("writing what a certificate is to say")?;
        let file = |ending| self.directory.join(format!("{name}.{ending}"));
        run(Command::new("openssl")
            .args(["req", "-x509", "-days", DAYS, "-extensions", "extensions"])
            .args(["-newkey", "rsa:2048", "-nodes", "-config"])
            .arg(&config)
            .args(signed_by)
            .arg("-keyout")
            .arg(file("key"))
            .arg("-out")
            .arg(file("crt")))
        .map(drop)
    }
}
