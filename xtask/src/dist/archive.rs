//! Reproducible tar archives: the same bytes from every build.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// An archive in memory.
pub(crate) struct Archive {
    builder: Builder<Vec<u8>>,
    epoch: u64,
}

/// One entry of an archive.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    path: &'a str,
    bytes: &'a [u8],
    kind: EntryType,
    mode: u32,
    owner: u64,
}

impl<'a> Entry<'a> {
    /// A directory that all may enter.
    pub(crate) fn directory(path: &'a str) -> Self {
        Self {
            path,
            bytes: &[],
            kind: EntryType::Directory,
            mode: 0o755,
            owner: 0,
        }
    }

    /// A file that all may read.
    pub(crate) fn file(path: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            path,
            bytes,
            kind: EntryType::Regular,
            mode: 0o644,
            owner: 0,
        }
    }

    /// A file that all may run.
    pub(crate) fn program(path: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            mode: 0o755,
            ..Self::file(path, bytes)
        }
    }

    /// The same, of another user and group.
    pub(crate) fn owned_by(self, owner: u64) -> Self {
        Self { owner, ..self }
    }
}

impl Archive {
    /// An empty archive, all of whose entries will be as old as `epoch`.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            builder: Builder::new(Vec::new()),
            epoch,
        }
    }

    /// Appends an entry.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        header.set_mtime(self.epoch);
        header.set_size(u64::try_from(entry.bytes.len()).context("a file of absurd size")?);
        self.builder
            .append_data(&mut header, entry.path, entry.bytes)
            .with_context(|| format!("packing {}", entry.path))
    }

    /// The archive as it is.
    pub(crate) fn plain(self) -> Result<Vec<u8>> {
        self.builder.into_inner().context("closing an archive")
    }

    /// The archive, gzipped.
    pub(crate) fn compressed(self) -> Result<Vec<u8>> {
        gzip(&self.plain()?)
    }
}

/// Packs bytes without a name or a time.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("compressing")?;
    encoder.finish().context("compressing")
}

#[cfg(test)]
mod tests {
    use super::{Archive, Entry};

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        let make = || {
            let mut archive = Archive::new(1_700_000_000);
            archive
                .add(&Entry::directory("a").owned_by(65532))
                .expect("a directory");
            archive
                .add(&Entry::program("a/b", b"text"))
                .expect("a file");
            archive.compressed().expect("an archive")
        };
        assert_eq!(make(), make());
    }
}
