//! The settings of TLS, which both programs have.

use std::path::PathBuf;

use clap::ValueEnum;

/// Which connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// None.
    Off,
    /// Those whose other side can: for the way from `off` to `required` and back.
    Permissive,
    /// All; others are refused.
    Required,
}

/// What a program needs for TLS. Made by `tls_settings`.
#[derive(Debug, Clone)]
pub struct Files {
    /// Its certificate, and those between it and the authority; PEM.
    pub certificate: PathBuf,
    /// Its key; PEM.
    pub key: PathBuf,
    /// The authorities that it trusts; PEM.
    pub authorities: PathBuf,
    /// Where it remembers who has spoken TLS.
    pub seen: Option<PathBuf>,
}

/// The files are not all there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--tls {mode} needs --tls-{missing} as well")]
pub struct MissingError {
    mode: &'static str,
    missing: &'static str,
}

impl Mode {
    /// As in the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Permissive => "permissive",
            Self::Required => "required",
        }
    }

    /// The files that this mode needs; `None` where it needs none.
    ///
    /// # Errors
    /// When one is not given.
    pub fn files(
        self,
        [certificate, key, authorities]: [Option<&PathBuf>; 3],
        seen: Option<&PathBuf>,
    ) -> Result<Option<Files>, MissingError> {
        if self == Self::Off {
            return Ok(None);
        }
        let need = |file: Option<&PathBuf>, missing| {
            let mode = self.as_str();
            file.cloned().ok_or(MissingError { mode, missing })
        };
        Ok(Some(Files {
            certificate: need(certificate, "cert")?,
            key: need(key, "key")?,
            authorities: need(authorities, "ca")?,
            seen: seen.cloned(),
        }))
    }
}

/// The URL of an issuer.
///
/// # Errors
/// When it is none, or would send the token unencrypted.
pub fn issuer_url(text: &str) -> Result<String, &'static str> {
    let uri: http::Uri = text.parse().map_err(|_other| "it is no URL")?;
    let is_plain = uri.query().is_none() && matches!(uri.path(), "" | "/");
    if uri.scheme() != Some(&http::uri::Scheme::HTTPS) || uri.host().is_none() || !is_plain {
        return Err("it is to be https://HOST:PORT");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Defines `TlsSettings`, and `IssuerSettings`, of which a command that only looks has none. The names of their
/// environment variables begin with `$prefix`.
#[macro_export]
macro_rules! tls_settings {
    ($prefix:literal) => {
        /// Whether the connections between agents and servers are encrypted, and by which certificate.
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct TlsSettings {
            /// TLS between agents and servers, among agents and among servers. `permissive` speaks it with
            /// those who can.
            #[arg(long, env = concat!($prefix, "_TLS"), value_name = "MODE", default_value = "off")]
            pub tls: $crate::tls::Mode,
            /// The certificate of this program, in PEM, and those between it and the authority. Its URI
            /// name says who it is, as in docs/tls.md. Read again when it changes.
            #[arg(long, env = concat!($prefix, "_TLS_CERT"), value_name = "FILE")]
            pub tls_cert: Option<::std::path::PathBuf>,
            /// Its key, in PEM.
            #[arg(long, env = concat!($prefix, "_TLS_KEY"), value_name = "FILE")]
            pub tls_key: Option<::std::path::PathBuf>,
            /// The certificates of the authorities that are trusted, in PEM; several while one takes the
            /// place of another.
            #[arg(long, env = concat!($prefix, "_TLS_CA"), value_name = "FILE")]
            pub tls_ca: Option<::std::path::PathBuf>,
            /// Where `permissive` remembers over restarts who has spoken TLS: until the certificate that
            /// was seen has expired, these are not spoken to, or believed, without. Without a file that
            /// lasts as long as the process.
            #[arg(long, env = concat!($prefix, "_TLS_SEEN"), value_name = "FILE")]
            pub tls_seen: Option<::std::path::PathBuf>,
        }

        /// Who issues this program's certificate, where it is not put there from elsewhere.
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct IssuerSettings {
            /// A `piccolo-server pki serve` in Kubernetes: it issues the certificate, which is written to --tls-cert
            /// and --tls-key, and renewed. --tls-ca has to be there for it to be trusted.
            #[arg(long, env = concat!($prefix, "_TLS_ISSUER"), value_name = "URL", requires = "tls_cert")]
            #[arg(value_parser = $crate::tls::issuer_url)]
            pub tls_issuer: Option<String>,
            /// The token of this pod's service account, for the issuer alone (a projected one).
            #[arg(long, env = concat!($prefix, "_TLS_ISSUER_TOKEN"), value_name = "FILE")]
            #[arg(default_value = "/var/run/secrets/piccolo/token")]
            pub tls_issuer_token: ::std::path::PathBuf,
        }

        impl TlsSettings {
            /// The same for a command that looks: what the running program remembers stays its own.
            #[must_use]
            pub fn to_look(&self) -> Self {
                Self {
                    tls_seen: None,
                    ..self.clone()
                }
            }

            /// Reads the files that the mode needs.
            ///
            /// # Errors
            /// When one is not given, or cannot be used.
            pub fn load(
                &self,
                roles: &'static [$crate::tls::Role],
                clock: &$crate::clock::Clock,
            ) -> Result<$crate::tls::Tls, $crate::tls::TlsError> {
                $crate::tls::Tls::load(self.tls, self.files()?, roles, clock.clone())
            }

            /// The same where an issuer may be about to write them.
            ///
            /// # Errors
            /// When one is not given, or cannot be used although nobody is to write it.
            pub fn load_or_wait(
                &self,
                issuer: &IssuerSettings,
                roles: &'static [$crate::tls::Role],
                clock: &$crate::clock::Clock,
            ) -> Result<$crate::tls::Tls, $crate::tls::TlsError> {
                if issuer.tls_issuer.is_none() {
                    return self.load(roles, clock);
                }
                $crate::tls::Tls::load_or_wait(self.tls, self.files()?, roles, clock.clone())
            }

            fn files(&self) -> Result<Option<$crate::tls::Files>, $crate::tls::MissingError> {
                let files = [&self.tls_cert, &self.tls_key, &self.tls_ca].map(Option::as_ref);
                self.tls.files(files, self.tls_seen.as_ref())
            }
        }
    };
}
