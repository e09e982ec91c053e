//! The programs of one Kubernetes, and the containerd that it can speak with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::containerd::Release;
use crate::exec::run;

const NAMES: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
];
/// Where they may be below the directory that is named, and where etcd may be.
const PLACES: [&str; 3] = ["kb", "bin", "."];
const ETCD: [&str; 4] = ["etcd/usr/bin/etcd", "bin/etcd", "kb/etcd", "etcd"];

/// The first that has CRI v1; those before speak v1alpha2, which containerd 2 has no more.
const CRI_V1: u32 = 23;

/// The first with a library that reads custom objects and works with Go from 1.18 on: reflect2 1.0.2.
const READS_WITH_NEW_GO: u32 = 24;
const NEW_GO: u32 = 18;

/// The programs of one Kubernetes, and an etcd.
#[derive(Clone, Debug)]
pub struct KubePrograms {
    directory: PathBuf,
    etcd: PathBuf,
    version: KubeVersion,
}

/// A version of Kubernetes 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KubeVersion {
    minor: u32,
    text: String,
    /// The Go 1 that it was built with.
    go: u32,
}

/// A containerd that a kubelet can speak with.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    pub(super) program: PathBuf,
    name: String,
}

impl KubePrograms {
    /// Finds them: `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kube-proxy`,
    /// `kubelet` and `kubectl` in the directory, its `kb` or its `bin`, and `etcd` there or in
    /// `etcd/usr/bin`.
    ///
    /// # Errors
    ///
    /// Which one is missing, or that one does not run.
    pub fn find(directory: &Path) -> Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("looking for Kubernetes in {}", directory.display()))?;
        let places = PLACES.iter().map(|place| directory.join(place));
        let found = places
            .clone()
            .find(|place| place.join("kube-apiserver").is_file());
        let programs = found.with_context(|| {
            let places: Vec<_> = places.map(|place| place.display().to_string()).collect();
            format!("kube-apiserver is in none of {}", places.join(", "))
        })?;
        for name in NAMES {
            if !programs.join(name).is_file() {
                bail!("{} has no {name}", programs.display());
            }
        }
        let mut etcds = ETCD.iter().map(|place| directory.join(place));
        let etcd = etcds.find(|path| path.is_file());
        let etcd = etcd.with_context(|| {
            format!("{} has no etcd, nor etcd/usr/bin/etcd", programs.display())
        })?;
        let version = run(Command::new(programs.join("kube-apiserver")).arg("--version=raw"))?;
        Ok(Self {
            version: KubeVersion::parse(&version)?,
            directory: programs,
            etcd,
        })
    }

    /// Their version.
    pub fn version(&self) -> &KubeVersion {
        &self.version
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn etcd(&self) -> &Path {
        &self.etcd
    }
}

impl KubeVersion {
    /// Whether it is 1.`minor` or later.
    pub fn is_at_least(&self, minor: u32) -> bool {
        self.minor >= minor
    }

    /// Whether its API server takes objects of kinds that it was told of: an old one built with a
    /// newer Go ends when it is given one.
    pub fn takes_custom_objects(&self) -> bool {
        self.is_at_least(READS_WITH_NEW_GO) || self.go < NEW_GO
    }

    /// `version.Info{... GitVersion:"v1.20.2", ... GoVersion:"go1.19.8", ...}`
    fn parse(said: &str) -> Result<Self> {
        let context = || format!("{:?} names no version of Kubernetes 1", said.trim());
        let field = |name: &str| {
            let (_, rest) = said.split_once(&format!("{name}:\""))?;
            rest.split('"').next()
        };
        let minor_of = |version: &str| {
            let minor = version
                .strip_prefix("1.")?
                .split(['.', '-', '+', ' '])
                .next();
            minor?.parse().ok()
        };
        let text = field("GitVersion").and_then(|version| version.strip_prefix('v'));
        let text = text.with_context(context)?;
        let go = field("GoVersion").and_then(|version| version.strip_prefix("go"));
        Ok(Self {
            minor: minor_of(text).with_context(context)?,
            text: text.to_owned(),
            go: go.and_then(minor_of).with_context(context)?,
        })
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Runtime {
    /// The newest that this Kubernetes speaks with; the one that is installed where several do.
    pub(super) fn choose(version: &KubeVersion) -> Result<Self> {
        let fitting: &[Release] = if version.is_at_least(CRI_V1) {
            &[Release::V2]
        } else {
            &[Release::Installed, Release::V1_7]
        };
        for release in fitting {
            let program = release.program()?;
            let said = run(Command::new(&program).arg("--version"))?;
            // `containerd SOURCE VERSION COMMIT`
            let number = said.split_whitespace().nth(2).unwrap_or_default();
            let number = number.trim_start_matches('v');
            if number.starts_with("1.") != version.is_at_least(CRI_V1) {
                return Ok(Self {
                    program,
                    name: format!("containerd {number}"),
                });
            }
        }
        bail!("no containerd is at hand that Kubernetes {version} can speak with")
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::KubeVersion;

    #[test]
    fn a_version_is_read_as_the_programs_say_it() {
        let said = |version: &str, go: &str| {
            KubeVersion::parse(&format!(
                "version.Info{{Major:\"1\", GitVersion:\"{version}\", GoVersion:\"{go}\"}}\n"
            ))
        };
        let version = said("v1.20.2", "go1.19.8").expect("a version");
        assert_eq!(version.to_string(), "1.20.2");
        assert!(version.is_at_least(20) && !version.is_at_least(21));
        assert!(!version.takes_custom_objects());
        assert!(said("v1.20.2", "go1.15.5").is_ok_and(|old| old.takes_custom_objects()));
        let next = said("v1.36.0-rc.1", "go1.26 X:boringcrypto").expect("a version");
        assert!(next.is_at_least(36) && next.takes_custom_objects());
        for odd in ["", "1.20.2", "v2.0.0", "v1.x"] {
            assert!(said(odd, "go1.26").is_err(), "{odd}");
        }
    }
}
