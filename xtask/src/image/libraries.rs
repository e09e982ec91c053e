//! The shared libraries of a development build, which is not linked statically.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::shell;

/// The files that the program loads at its start, its loader among them.
pub(super) fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = shell::output(Command::new("ldd").arg(program))
        .with_context(|| format!("asking for the libraries of {}", program.display()))?;
    let files: Vec<_> = listed.lines().filter_map(file).collect();
    ensure!(
        !files.is_empty(),
        "{} loads no library: it is not the development build",
        program.display()
    );
    Ok(files)
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f00)`, or the loader's path alone. What the kernel provides has
/// no path.
fn file(line: &str) -> Option<PathBuf> {
    let line = line.trim();
    let place = line.split_once(" => ").map_or(line, |(_, place)| place);
    let path = place.split_whitespace().next()?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::file;

    #[test]
    fn only_what_has_a_path_is_a_file() {
        let path = |line| file(line).map(PathBuf::into_os_string);
        assert_eq!(path("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(
            path("\tlibc.so.6 => /lib/libc.so.6 (0x00007f00)"),
            Some("/lib/libc.so.6".into())
        );
        assert_eq!(
            path("\t/lib64/ld-linux-x86-64.so.2 (0x00007f00)"),
            Some("/lib64/ld-linux-x86-64.so.2".into())
        );
    }
}
