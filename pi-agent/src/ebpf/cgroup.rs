//! The agent's own control group (version 2), as a directory.
//!
//! Version 2 may be mounted alone or beside version 1; the agent may see the host's hierarchy or,
//! with a control group namespace, one that begins at its own group. A group is ours if it lists our
//! process.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// The group was not found.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// What the kernel says of this process could not be read.
    #[error("reading {path}")]
    Proc {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Version 2 is not mounted where the agent can see it.
    #[error("no control groups of version 2 are mounted here; mount /sys/fs/cgroup read-only")]
    NotMounted,
    /// It is mounted, but none of the places lists this process.
    #[error("none of {0:?} lists this process; mount the host's /sys/fs/cgroup read-only")]
    NotListed(Vec<PathBuf>),
}

const MOUNTS: &str = "/proc/self/mountinfo";
const MEMBERSHIP: &str = "/proc/self/cgroup";

/// Finds the directory of the group that this process is in.
pub(crate) fn own() -> Result<PathBuf, CgroupError> {
    let read = |path| fs::read_to_string(path).map_err(|source| CgroupError::Proc { path, source });
    choose(
        candidates(&read(MOUNTS)?, &read(MEMBERSHIP)?),
        std::process::id(),
    )
}

fn choose(candidates: Vec<PathBuf>, process: u32) -> Result<PathBuf, CgroupError> {
    if candidates.is_empty() {
        return Err(CgroupError::NotMounted);
    }
    let ours = candidates.iter().position(|group| lists(group, process));
    match ours {
        Some(index) => Ok(candidates.into_iter().nth(index).unwrap_or_default()),
        None => Err(CgroupError::NotListed(candidates)),
    }
}

fn lists(group: &Path, process: u32) -> bool {
    let Ok(members) = fs::read_to_string(group.join("cgroup.procs")) else {
        return false;
    };
    let process = process.to_string();
    members.lines().any(|line| line == process)
}

/// Where the group may be: under every mount of version 2, at the path that the kernel gives, and
/// at the mount's own root.
fn candidates(mounts: &str, membership: &str) -> Vec<PathBuf> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let joined = path.and_then(|path| mount.locate(Path::new(path)));
        found.extend(joined);
        found.push(mount.point);
    }
    found.dedup();
    found
}

/// One mount of the version 2 hierarchy.
struct Mount {
    /// The group that is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

impl Mount {
    /// Reads one line of `mountinfo`: proc_pid_mountinfo(5).
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = place.split(' ').skip(3);
        let root = unescape(fields.next()?);
        let point = unescape(fields.next()?);
        Some(Self {
            root: root.into(),
            point: point.into(),
        })
    }

    /// The directory of the group at `path`, if this mount shows it.
    fn locate(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        let inside = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        // Joining nothing would add a slash.
        let parts = below.components();
        inside.then(|| parts.fold(self.point.clone(), |path, part| path.join(part)))
    }
}

/// `mountinfo` writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";

    #[track_caller]
    fn check(mount: &str, membership: &str, expected: &[&str]) {
        let mounts = format!("{V1}\n{mount}\n");
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(candidates(&mounts, membership), expected);
    }

    #[test]
    fn the_group_is_found_in_each_kind_of_system() {
        // A systemd host with version 2 only.
        check(
            "26 22 0:23 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw",
            "0::/system.slice/pi-agent.service\n",
            &[
                "/sys/fs/cgroup/system.slice/pi-agent.service",
                "/sys/fs/cgroup",
            ],
        );
        // Version 2 beside version 1.
        check(
            "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
            "4:memory:/a\n0::/b\n",
            &["/sys/fs/cgroup/unified/b", "/sys/fs/cgroup/unified"],
        );
        // A container with a namespace of its own.
        check(
            "90 80 0:23 / /sys/fs/cgroup ro - cgroup2 cgroup ro",
            "0::/\n",
            &["/sys/fs/cgroup"],
        );
        // A container without one: its group is mounted, its path is the host's.
        check(
            "90 80 0:23 /kubepods/pod1/c1 /sys/fs/cgroup ro - cgroup2 cgroup ro",
            "0::/kubepods/pod1/c1\n",
            &["/sys/fs/cgroup"],
        );
        // The host's hierarchy, seen from a namespace that begins below it.
        check(
            "90 80 0:23 /../../.. /host/cgroup ro - cgroup2 cgroup ro",
            "0::/\n",
            &["/host/cgroup"],
        );
        check("", "0::/\n", &[]);
    }

    #[test]
    fn a_mount_point_may_have_spaces() {
        check(
            "26 22 0:23 / /mnt/c\\040g rw - cgroup2 cgroup2 rw",
            "0::/a\n",
            &["/mnt/c g/a", "/mnt/c g"],
        );
    }

    #[test]
    fn the_group_that_lists_the_process_is_ours() {
        let directory = tempfile::tempdir().expect("a directory");
        let group = |name: &str, members: &str| {
            let group = directory.path().join(name);
            fs::create_dir(&group).expect("a group");
            fs::write(group.join("cgroup.procs"), members).expect("its members");
            group
        };
        let (other, ours) = (group("other", "1\n42\n"), group("ours", "7\n4\n"));
        let found = choose(vec![other.clone(), ours.clone()], 4).expect("a group");
        assert_eq!(found, ours);
        assert!(matches!(
            choose(vec![other], 4),
            Err(CgroupError::NotListed(_))
        ));
        assert!(matches!(
            choose(Vec::new(), 4),
            Err(CgroupError::NotMounted)
        ));
    }
}
