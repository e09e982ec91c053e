//! The memory that this process may use.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups of version 2 are, and the memory controller of version 1.
const ROOTS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// Bytes that this process may use: the lowest limit of its control groups, or the machine's memory.
/// `None` where neither can be read.
pub fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = files(&groups).filter_map(|file| bytes(&fs::read_to_string(file).ok()?));
    let machine = fs::read_to_string("/proc/meminfo").ok();
    limits.chain(machine.and_then(|text| total(&text))).min()
}

/// The files that have the limits of the groups in `/proc/self/cgroup`: a group is within its parents'
/// limits, too. In a container the path may be the host's, where only the root is there.
fn files(groups: &str) -> impl Iterator<Item = PathBuf> {
    let memory = groups.lines().filter_map(|line| {
        // hierarchy:controllers:path
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let version = match controllers {
            "" => 0,
            controllers if controllers.split(',').any(|name| name == "memory") => 1,
            _ => return None,
        };
        Some((ROOTS.get(version)?, path))
    });
    memory.flat_map(|((root, file), path)| {
        let group = Path::new(root).join(path.trim_start_matches('/'));
        let groups = group
            .ancestors()
            .take_while(|group| group.starts_with(root));
        groups.map(|group| group.join(file)).collect::<Vec<_>>()
    })
}

/// A limit as the kernel writes it. `max`, which stands for none, is no number.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(groups: &str, expected: &[&str]) {
        let files: Vec<_> = files(groups).collect();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(files, expected, "{groups}");
    }

    #[test]
    fn a_group_has_the_limits_of_its_parents() {
        check("0::/\n", &["/sys/fs/cgroup/memory.max"]);
        check(
            "0::/system.slice/piccolo.service\n",
            &[
                "/sys/fs/cgroup/system.slice/piccolo.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ],
        );
        check(
            "5:cpu,cpuacct:/a\n4:memory:/pod\n1:name=systemd:/x\n",
            &[
                "/sys/fs/cgroup/memory/pod/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ],
        );
        check("", &[]);
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(bytes("536870912\n"), Some(512 << 20));
        assert_eq!(bytes("max\n"), None);
        assert_eq!(
            total("MemTotal:        1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
        assert!(limit().is_some(), "every Linux says how much it has");
    }
}
