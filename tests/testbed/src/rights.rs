//! What the bed may do.

/// Whether this program is root, which the bed needs for namespaces and mounts.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
