//! Has this program's certificate issued by a signer in Kubernetes, and renews it.
//!
//! The signer learns of the pod from the token of its service account. The key is made here and stays here.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use metrics::counter;
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    access::{Need, explain},
    client::ReplyError,
    clock::Clock,
    https::{HttpsClient, HttpsError},
    metric::Metric,
    readiness::Readiness,
    retry::Backoff,
    scope::Scope,
    spell::Spell,
    telemetry::chain,
    tls::{AdoptError, Leaf, Mode, Tls},
};

/// What this module counts.
pub const METRICS: &[Metric] = &[ISSUES];

const ISSUES: Metric = Metric::counter(
    "piccolo_tls_issues_total",
    &[("outcome", "`good`, `failed`")],
    "Certificates of this program that were asked of `--tls-issuer`.",
);

/// Where a signer is asked for a certificate.
pub const PATH: &str = "/api/v1/certificate";
/// The name under which readiness says whether there is one.
const CONDITION: &str = "certificate";

/// All programs of a cluster may start at once.
const START: Duration = Duration::from_secs(2);
/// Between two looks at whether it is time.
const LOOK: Duration = Duration::from_secs(5);
/// Between two tries that fail: at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_mins(2);
/// Longer than a signer takes for a call, so that it says why there is none.
const DEADLINE: Duration = Duration::from_secs(30);
const DIAL: Duration = Duration::from_secs(5);
/// A certificate is renewed after two thirds of its life, give or take this part of it.
const SPREAD: f64 = 0.1;
/// What a signer says of a refusal, in a log.
const MOST_SAID: usize = 300;

/// A call for a certificate. The token of the service account is its bearer token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// A certificate request (PKCS #10) in PEM. Nothing counts of it but its key.
    pub request: String,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Issued {
    /// The certificate, in PEM.
    pub certificate: String,
}

/// Why there is none.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// For people.
    pub error: String,
    /// When it is worth asking again, if the signer says.
    #[serde(default)]
    pub retry_after_seconds: u64,
}

/// Says why a certificate is not for this program.
pub type Fits = dyn Fn(&Leaf) -> Result<(), String> + Send + Sync;

/// What a program brings.
pub struct Settings {
    /// The signer's base URL.
    pub url: String,
    /// The token of the service account.
    pub token: PathBuf,
    /// Whose certificate it is.
    pub tls: Tls,
    /// Is told whether there is one.
    pub readiness: Readiness,
    /// The wall clock.
    pub clock: Clock,
    /// Uniform in 0 to 1.
    pub random: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Why a certificate is not for this program.
    pub fits: Arc<Fits>,
}

/// Renews the certificate of a program.
#[derive(Debug)]
pub struct Issuer {
    settings: Settings,
    client: HttpsClient,
    backoff: Backoff,
    /// The part of its life after which a certificate is renewed.
    at: f64,
    failing: Spell,
    storing: Spell,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error("the token of the service account, {}, cannot be read", .0.display())]
    Token(PathBuf, #[source] io::Error),
    #[error("no key could be made")]
    Key(#[from] rcgen::Error),
    #[error("the signer cannot be asked")]
    Call(#[from] HttpsError),
    #[error("the call could not be made")]
    Request(#[from] http::Error),
    #[error("the signer refuses ({status}): {}", refusal.error)]
    Refused {
        status: StatusCode,
        refusal: Refusal,
    },
    #[error("the signer's answer is none")]
    Reply(#[from] ReplyError),
    #[error("the signer's certificate is not taken")]
    Adopt(#[from] AdoptError),
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// `None` where there is no TLS.
    pub fn new(settings: Settings) -> Option<Self> {
        let authorities = settings.tls.files()?.authorities.clone();
        let mut issuer = Self {
            client: HttpsClient::new(authorities, DIAL, settings.clock.clone()),
            settings,
            backoff: Backoff::new(FIRST, MOST),
            at: 0.0,
            failing: Spell::new("this program's certificate is issued again"),
            storing: Spell::new("this program's certificate is kept over a restart again"),
        };
        issuer.spread();
        if issuer.in_force().is_none() {
            issuer.tell("none yet");
        } else {
            issuer.settings.readiness.good(CONDITION, "");
        }
        Some(issuer)
    }

    /// Renews the certificate when it is time, until the scope drains.
    pub async fn run(mut self, scope: Scope) {
        let mut wait = START.mul_f64(self.random());
        loop {
            tokio::select! {
                () = scope.draining() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = if self.is_due() {
                self.renew().await
            } else {
                self.store().await;
                LOOK
            };
        }
    }

    /// Asks for a certificate; gives how long to wait then.
    async fn renew(&mut self) -> Duration {
        let issued = self.issue().await;
        let outcome = if issued.is_ok() { "good" } else { "failed" };
        counter!(ISSUES.name, "outcome" => outcome).increment(1);
        let error = match issued {
            Ok(()) => {
                self.failing.is_well();
                self.backoff.reset();
                self.spread();
                self.store().await;
                return LOOK;
            }
            Err(error) => error,
        };
        let why = chain(&error).to_string();
        self.failing.happened(|times| {
            warn!(error = %why, times, "no certificate was issued for this program");
        });
        self.tell(&why);
        let delay = self.backoff.delay(self.random());
        match error {
            // It costs nobody anything, and a new cluster waits for it.
            IssueError::Call(HttpsError::Authorities(_)) => LOOK,
            // It named it to many others, too.
            IssueError::Refused { refusal, .. } if refusal.retry_after_seconds > 0 => {
                let after = Duration::from_secs(refusal.retry_after_seconds).min(MOST);
                delay.max(after.mul_f64(0.5 + self.random()))
            }
            _ => delay,
        }
    }

    /// Writes what was issued, if its files have not got it yet. It counts without.
    async fn store(&self) {
        let Settings { tls, readiness, .. } = &self.settings;
        match tls.store().await {
            Ok(()) => {
                self.storing.is_well();
                readiness.good(CONDITION, "");
            }
            Err(error) => {
                let why = chain(&error).to_string();
                self.storing.happened(|times| {
                    warn!(error = %why, times, "this program's certificate is in force, and would not outlast a restart");
                });
                readiness.degraded(CONDITION, format!("it would not outlast a restart: {why}"));
            }
        }
    }

    async fn issue(&self) -> Result<(), IssueError> {
        let token = self.token().await?;
        let key = KeyPair::generate()?;
        let request = CertificateParams::default()
            .serialize_request(&key)?
            .pem()?;
        let body = serde_json::json!(Call { request }).to_string();
        let call = Request::post(format!("{}{PATH}", self.settings.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::from(body))?;
        let reply = self.client.send(call, DEADLINE).await?;
        if reply.status != StatusCode::OK {
            let mut refusal: Refusal = reply.json().unwrap_or_default();
            refusal.error = refusal.error.chars().take(MOST_SAID).collect();
            return Err(IssueError::Refused {
                status: reply.status,
                refusal,
            });
        }
        let Issued { certificate } = reply.json()?;
        let fits = Arc::clone(&self.settings.fits);
        let adopted =
            (self.settings.tls).adopt(certificate, key.serialize_pem(), move |own| fits(own));
        adopted.await?;
        info!("this program's certificate was issued");
        Ok(())
    }

    async fn token(&self) -> Result<String, IssueError> {
        let path = &self.settings.token;
        let token = tokio::fs::read_to_string(path).await;
        let token = token
            .map_err(|error| IssueError::Token(path.clone(), explain(error, path, Need::Read)))?;
        Ok(token.trim().to_owned())
    }

    /// The certificate that is in force and fits.
    fn in_force(&self) -> Option<Leaf> {
        let own = self.settings.tls.own()?;
        let counts = !self.settings.tls.left(&own).is_zero() && (self.settings.fits)(&own).is_ok();
        counts.then_some(own)
    }

    /// Whether it is time for another certificate, or the signer has another authority than it had.
    fn is_due(&self) -> bool {
        let Settings { tls, clock, .. } = &self.settings;
        let is_old = |own: Leaf| {
            let life = own.expires.saturating_sub(own.begins);
            clock.now() >= own.begins + life.mul_f64(self.at)
        };
        !tls.is_certified() || self.in_force().is_none_or(is_old)
    }

    fn spread(&mut self) {
        self.at = 2.0 / 3.0 + SPREAD * (self.random() - 0.5);
    }

    fn random(&self) -> f64 {
        (self.settings.random)().clamp(0.0, 1.0)
    }

    /// Says why there is no new certificate.
    fn tell(&self, why: &str) {
        let Settings { readiness, tls, .. } = &self.settings;
        if self.in_force().is_some() || tls.mode() == Mode::Permissive {
            readiness.degraded(CONDITION, why);
        } else {
            readiness.bad(CONDITION, why);
        }
    }
}
