//! What no waiting mends: a setting here that does not fit the database's server, or one there.

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use sqlx::mysql::MySqlDatabaseError;

/// What does not fit, and what to set instead.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Misfit {
    #[error(
        "the database's user logs in with a method that gives the password only to a TLS connection \
         (caching_sha2_password or sha256_password): set ssl-mode=REQUIRED in the database's URL, or \
         leave ssl-mode out; and where the database's server has no TLS, give it a certificate"
    )]
    PasswordWantsTls,
    #[error(
        "the certificate of the database's server is for another name ({0}): put a name of the \
         certificate into the database's URL, or set ssl-mode=VERIFY_CA there, which checks the \
         authority alone"
    )]
    Name(CertificateError),
    #[error(
        "the certificate of the database's server comes from no authority that is known here: name \
         the file of its authority's certificate with ssl-ca=FILE in the database's URL, or set \
         ssl-mode=REQUIRED there, which encrypts and checks nothing"
    )]
    Authority,
    #[error(
        "the certificate of the database's server is not valid at this time ({0}): renew it there, or \
         set this host's clock right"
    )]
    Time(CertificateError),
    #[error(
        "the certificate of the database's server is not accepted ({0}): give the server one that is \
         for servers and names its host, or set ssl-mode=REQUIRED in the database's URL, which \
         encrypts and checks nothing"
    )]
    Certificate(CertificateError),
    #[error(
        "the database's server does not accept the certificate of this one ({0:?}): see to ssl-cert \
         and ssl-key in the database's URL, and to the authority that the database's server trusts"
    )]
    OwnCertificate(AlertDescription),
    #[error(
        "no TLS connection to the database's server can be made ({0}): see to ssl-mode, ssl-ca, \
         ssl-cert and ssl-key in the database's URL"
    )]
    Tls(String),
    #[error(
        "the database's server takes encrypted connections only ({0}): set ssl-mode=REQUIRED in the \
         database's URL, or leave ssl-mode out"
    )]
    Unencrypted(String),
    #[error(
        "the database's user logs in with a method that is not known here ({0}): use \
         caching_sha2_password or mysql_native_password"
    )]
    Method(String),
    #[error(
        "the database's server does not let its user in ({0}): see to the name, the password and the \
         database in the URL, and to the user's rights there; and where it wants TLS of the user \
         (require_secure_transport, REQUIRE SSL), set ssl-mode=REQUIRED"
    )]
    User(String),
    #[error("the database's URL does not fit its server ({0})")]
    Url(String),
}

/// sqlx's message where the server wants the password encrypted by its own key.
const RSA: &str = "RSA auth backend disabled";
/// sqlx's message for an unknown login method.
const UNKNOWN_METHOD: &str = "unknown authentication plugin";

impl Misfit {
    /// Of an error of the database, if it is one.
    pub(in crate::store) fn of(error: &sqlx::Error) -> Option<Self> {
        match error {
            sqlx::Error::Configuration(error) => Some(match error.downcast_ref() {
                Some(misfit) => Self::clone(misfit),
                None if error.to_string().starts_with(RSA) => Self::PasswordWantsTls,
                None => Self::Url(error.to_string()),
            }),
            sqlx::Error::Tls(error) => Some(match error.downcast_ref() {
                Some(error) => Self::of_tls(error).unwrap_or_else(|| Self::Tls(error.to_string())),
                None => Self::Tls(error.to_string()),
            }),
            sqlx::Error::Io(error) => Self::of_tls(error.get_ref()?.downcast_ref()?),
            sqlx::Error::Protocol(text) if text.starts_with(UNKNOWN_METHOD) => {
                Some(Self::Method(text.clone()))
            }
            sqlx::Error::Database(error) => {
                let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
                Self::of_mysql(error.number(), error.message())
            }
            _ => None,
        }
    }

    /// As an error that [`of`](Self::of) takes for this.
    pub(in crate::store) fn into_error(self) -> sqlx::Error {
        sqlx::Error::Configuration(Box::new(self))
    }

    fn of_tls(error: &TlsError) -> Option<Self> {
        use CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
            NotValidYet, NotValidYetContext, UnknownIssuer,
        };
        Some(match error {
            TlsError::InvalidCertificate(error) => match error {
                NotValidForName | NotValidForNameContext { .. } => Self::Name(error.clone()),
                // Of an authority of another name, or of the same name and with another key.
                UnknownIssuer | BadSignature => Self::Authority,
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
                    Self::Time(error.clone())
                }
                _ => Self::Certificate(error.clone()),
            },
            TlsError::AlertReceived(alert) if is_of_certificates(*alert) => {
                Self::OwnCertificate(*alert)
            }
            TlsError::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
            )
            | TlsError::PeerIncompatible(_)
            | TlsError::NoCertificatesPresented => Self::Tls(error.to_string()),
            _ => return None,
        })
    }

    /// By MySQL's and MariaDB's numbers.
    fn of_mysql(number: u16, message: &str) -> Option<Self> {
        match number {
            // No such user, password, host or database, or one without rights; a method that this
            // side does not offer; an account that is locked or whose password has expired.
            1044 | 1045 | 1049 | 1130 | 1251 | 1698 | 1820 | 1862 | 3118 | 4151 => {
                Some(Self::User(message.to_owned()))
            }
            // require_secure_transport.
            3159 => Some(Self::Unencrypted(message.to_owned())),
            _ => None,
        }
    }
}

/// Whether the error is about a bad or missing certificate.
fn is_of_certificates(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    [
        AccessDenied,
        BadCertificate,
        CertificateExpired,
        CertificateRequired,
        CertificateRevoked,
        CertificateUnknown,
        UnknownCA,
        UnsupportedCertificate,
    ]
    .contains(&alert)
}
