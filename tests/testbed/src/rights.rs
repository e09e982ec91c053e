//! The rights of the bed, and of an unprivileged user.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

/// The user that nothing belongs to: the server's in its image.
pub const STRANGER: u32 = 65532;

/// Whether this program is root, which the bed needs for namespaces and mounts.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs a program as [`STRANGER`], from a copy below `directory`: the program's own
/// place may be closed to others. Without root the user stays the same.
///
/// # Errors
///
/// When the copy cannot be made.
pub fn as_stranger(program: &Path, directory: &Path) -> io::Result<Command> {
    let copy = directory.join("program");
    // By another program: a copy that this one wrote would be busy while another thread starts something.
    let mut install = Command::new("install");
    let copied = install.arg("--mode=0755").args([program, &copy]).status()?;
    if !copied.success() {
        return Err(io::Error::other(format!("install ended with {copied}")));
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new(copy);
    if is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    Ok(command)
}
