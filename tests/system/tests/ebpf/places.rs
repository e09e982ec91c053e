//! The agent finds its own control group wherever it runs.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use testbed::{Process, wait_until};

use crate::lab::{Lab, Link, Outcome, parse, program};

const SOON: Duration = Duration::from_secs(20);

/// Where the group's directory is on this machine, and a mount namespace without any.
const BEFORE: &str = r#"
set -e
root=/sys/fs/cgroup
[ -e "$root/cgroup.controllers" ] || root=$root/unified
path=$(sed -n 's/^0:://p' /proc/self/cgroup)
mount --bind "$root$path" /mnt
umount --lazy --recursive /sys/fs/cgroup
"#;

/// Attaches after `layout` has mounted control groups, in a mount namespace of its own and with
/// these further namespaces.
fn attach(namespaces: &str, layout: &str, accounting: &str) -> Result<Outcome> {
    let lab = Lab::build(Link::Unshaped)?;
    let program = program().display();
    let script =
        format!("{BEFORE}{layout}\numount /mnt\nexec {program} --accounting={accounting} hold");
    let arguments = ["--mount", namespaces, "sh", "-c", &script];
    let arguments = arguments.iter().filter(|argument| !argument.is_empty());
    let unshare = Path::new("unshare");
    let mut process = Process::start(lab.run(), lab.observer()?, "placed", unshare, arguments)?;
    wait_until("the attempt to end", SOON, || {
        Ok((!process.is_running()).then_some(()))
    })?;
    parse(&process.log())
}

/// It attaches by this layout's directory, and a connection to itself is counted.
fn check(namespaces: &str, layout: &str, directory: &str) -> Result<()> {
    let outcome = attach(namespaces, layout, "ebpf")?;
    let mode = &outcome.mode;
    assert_eq!(mode.in_force, "ebpf", "{mode:?}");
    let expected = format!("attached to {directory}");
    ensure!(
        mode.detail.starts_with(&expected),
        "{mode:?}, not {expected}"
    );
    Ok(())
}

#[test]
fn a_host_with_version_2_only() -> Result<()> {
    check(
        "",
        "mount -t cgroup2 none /sys/fs/cgroup",
        "/sys/fs/cgroup/",
    )
}

#[test]
fn a_host_with_both_versions() -> Result<()> {
    let layout = "mount -t tmpfs none /sys/fs/cgroup
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 none /sys/fs/cgroup/unified";
    check("", layout, "/sys/fs/cgroup/unified/")
}

#[test]
fn a_container_with_a_control_group_namespace() -> Result<()> {
    let layout = "mount -t cgroup2 none /sys/fs/cgroup
        mount -o remount,bind,ro /sys/fs/cgroup";
    check("--cgroup", layout, "/sys/fs/cgroup, ")
}

#[test]
fn a_container_without_a_control_group_namespace() -> Result<()> {
    let layout = "mount --bind /mnt /sys/fs/cgroup
        mount -o remount,bind,ro /sys/fs/cgroup";
    check("", layout, "/sys/fs/cgroup, ")
}

#[test]
fn a_container_that_sees_no_control_groups_counts_in_user_space() -> Result<()> {
    let outcome = attach("", "umount /mnt\nmount -t tmpfs none /mnt", "auto")?;
    let mode = &outcome.mode;
    assert_eq!(mode.in_force, "tcp-info", "{mode:?}");
    assert_eq!(mode.reason, "cgroup", "{mode:?}");
    ensure!(
        mode.detail.contains("mount /sys/fs/cgroup read-only"),
        "{mode:?}"
    );
    Ok(())
}
