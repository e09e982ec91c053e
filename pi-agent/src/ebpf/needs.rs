//! What the kernel's accounting needs, and what of it this process has, for `doctor`.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::cgroup;

/// One need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// What is needed.
    pub what: String,
    /// Whether it is there.
    pub met: bool,
    /// What was found.
    pub found: String,
    /// What to do where it is not met.
    pub remedy: String,
}

/// A capability: capabilities(7).
#[derive(Debug, Clone, Copy)]
struct Capability {
    name: &'static str,
    bit: u32,
}

const NET_ADMIN: Capability = Capability {
    name: "CAP_NET_ADMIN",
    bit: 12,
};
const SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
};
const SYS_RESOURCE: Capability = Capability {
    name: "CAP_SYS_RESOURCE",
    bit: 24,
};
const BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
};

/// The kernel that gives the program all its callbacks.
const ENOUGH: Release = Release(5, 10);
/// The first that charges maps to the control group instead of to the locked memory.
const NO_MEMLOCK: Release = Release(5, 11);

/// A kernel's release, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32);

/// Checks every need of this process.
pub fn needs() -> Vec<Need> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut needs = vec![kernel(&release)];
    needs.extend(capabilities(&release, &status));
    needs.push(match cgroup::own() {
        Ok(group) => Need {
            what: "the agent's own control group (version 2)".to_owned(),
            met: true,
            found: group.display().to_string(),
            remedy: String::new(),
        },
        Err(error) => Need {
            what: "the agent's own control group (version 2)".to_owned(),
            met: false,
            found: error.to_string(),
            remedy: "mount the host's /sys/fs/cgroup read-only into the container".to_owned(),
        },
    });
    needs
}

fn kernel(release: &str) -> Need {
    Need {
        what: "Linux 5.10".to_owned(),
        met: Release::parse(release).is_some_and(|release| release >= ENOUGH),
        found: release.to_owned(),
        remedy: "a newer kernel, or --accounting tcp-info".to_owned(),
    }
}

fn capabilities(release: &str, status: &str) -> Vec<Need> {
    let held = effective(status);
    let memlock = Release::parse(release).is_some_and(|release| release < NO_MEMLOCK);
    let mut needed = vec![BPF, NET_ADMIN];
    needed.extend(memlock.then_some(SYS_RESOURCE));
    needed
        .into_iter()
        .map(|capability| {
            let has = |capability: Capability| held >> capability.bit & 1 == 1;
            // It implies the two, but not the right to lock more memory.
            let by_admin = capability.bit != SYS_RESOURCE.bit && has(SYS_ADMIN);
            let found = if has(capability) {
                "held"
            } else if by_admin {
                "implied by CAP_SYS_ADMIN"
            } else {
                "missing"
            };
            Need {
                what: capability.name.to_owned(),
                met: has(capability) || by_admin,
                found: found.to_owned(),
                remedy: format!(
                    "add {} to the container's capabilities, as user 0",
                    capability.name.trim_start_matches("CAP_")
                ),
            }
        })
        .collect()
}

/// The effective capabilities: proc_pid_status(5).
fn effective(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

impl Release {
    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(release: &str, mask: &str, missing: &[&str]) {
        let status = format!("Name:\tx\nCapEff:\t{mask}\n");
        let mut needs = capabilities(release, &status);
        needs.push(kernel(release));
        let unmet = needs.iter().filter(|need| !need.met);
        let unmet: Vec<_> = unmet.map(|need| need.what.as_str()).collect();
        assert_eq!(unmet, missing, "{release} {mask}");
    }

    #[test]
    fn what_is_missing_is_named() {
        check("6.18.44-fc", "0000008000001000", &[]);
        check("6.1.0-9-amd64", "0000000000001000", &["CAP_BPF"]);
        check(
            "6.1.0-9-amd64",
            "0000000000000000",
            &["CAP_BPF", "CAP_NET_ADMIN"],
        );
        check("6.1.0-9-amd64", "0000000000200000", &[]);
        check("5.10.223", "0000008000001000", &["CAP_SYS_RESOURCE"]);
        check("5.10.223", "0000008001001000", &[]);
        check("4.18.0-553.el8", "0000008001001000", &["Linux 5.10"]);
    }
}
