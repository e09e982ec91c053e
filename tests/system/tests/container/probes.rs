//! The probes of a manifest, asked as the kubelet asks them.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use saphyr::Yaml;
use testbed::{Netns, get};

use crate::manifest::{at, items, text_at};

/// The kubelet's own number where a probe says none.
const FAILURES: u64 = 3;

/// The probes of one container. Not every one has all.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    pub(crate) startup: Option<Probe>,
    pub(crate) liveness: Probe,
    pub(crate) readiness: Probe,
}

/// A probe by HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    address: SocketAddr,
    path: String,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    /// This many failures in a row decide.
    pub(crate) failures: u64,
    /// Between SIGTERM and SIGKILL, once it has decided.
    pub(crate) grace: Option<Duration>,
}

impl Probes {
    /// Reads those of a container. `address` is the pod's, which is probed where no host is named.
    pub(crate) fn read(container: &Yaml<'_>, address: IpAddr) -> Result<Self> {
        let probe = |key| {
            let probe = at(container, &[key])?;
            Probe::read(container, probe, address).with_context(|| format!("reading {key}"))
        };
        let startup = container.as_mapping_get("startupProbe");
        Ok(Self {
            startup: startup.map(|_| probe("startupProbe")).transpose()?,
            liveness: probe("livenessProbe")?,
            readiness: probe("readinessProbe")?,
        })
    }
}

impl Probe {
    fn read(container: &Yaml<'_>, probe: &Yaml<'_>, address: IpAddr) -> Result<Self> {
        let number = |key| {
            let number = probe.as_mapping_get(key).and_then(Yaml::as_integer);
            number.and_then(|number| u64::try_from(number).ok())
        };
        let seconds = |key| {
            let number = number(key).with_context(|| format!("{key} is no number"));
            number.map(Duration::from_secs)
        };
        let get = at(probe, &["httpGet"])?;
        let host = text_at(get, "host").map_or(Ok(address), str::parse)?;
        Ok(Self {
            address: SocketAddr::new(host, port(container, at(get, &["port"])?)?),
            path: text_at(get, "path").context("no path")?.to_owned(),
            period: seconds("periodSeconds")?,
            timeout: seconds("timeoutSeconds")?,
            failures: number("failureThreshold").unwrap_or(FAILURES),
            grace: seconds("terminationGracePeriodSeconds").ok(),
        })
    }

    /// How long it takes to decide that there is no answer, after the first failure.
    pub(crate) fn patience(&self) -> Duration {
        let failures = u32::try_from(self.failures).unwrap_or(u32::MAX);
        self.period * failures
    }

    /// Whether the container answers in time.
    pub(crate) fn answers(&self, netns: &Netns) -> bool {
        let (netns, address, path) = (netns.clone(), self.address, self.path.clone());
        let (say, said) = mpsc::channel();
        thread::spawn(move || {
            let answer = get(&netns, address, &path);
            // Nobody listens where it is too late.
            let _ = say.send(answer.is_ok_and(|answer| answer.status == 200));
        });
        said.recv_timeout(self.timeout).unwrap_or(false)
    }
}

/// A port, by its number or by the container's name for it.
fn port(container: &Yaml<'_>, port: &Yaml<'_>) -> Result<u16> {
    let named = port.as_str().and_then(|name| {
        let named = items(container, "ports").find(|port| text_at(port, "name") == Some(name))?;
        named.as_mapping_get("containerPort")
    });
    let number = named.unwrap_or(port).as_integer().context("no port")?;
    Ok(u16::try_from(number)?)
}
