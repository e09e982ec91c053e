//! Which directories of the node a container sees.

use std::{fs, path::Path};

/// Whether something is mounted at `path` itself, as the chart mounts the directory of mirror files.
/// Then this is a container, and what is missing here may well be there on the node.
pub(super) fn mounted_at(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    is_mount_point(&mounts, &real)
}

/// The fifth field of a line is where something is mounted, with blanks and the like in octal.
fn is_mount_point(mountinfo: &str, path: &Path) -> bool {
    let path = path.to_string_lossy();
    let escaped = path
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
        .replace('\n', "\\012");
    mountinfo
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&escaped))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_mount_point;

    #[test]
    fn finds_the_mount_point_and_nothing_like_it() {
        let text = "31 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
                    96 31 254:1 /x /etc/containerd/certs.d rw,relatime - ext4 /dev/vda1 rw\n\
                    97 31 0:5 / /a\\040b rw - tmpfs none rw\n";
        assert!(is_mount_point(text, Path::new("/etc/containerd/certs.d")));
        assert!(is_mount_point(text, Path::new("/a b")));
        assert!(!is_mount_point(text, Path::new("/etc/containerd")));
        assert!(!is_mount_point(text, Path::new("/x")));
    }
}
