//! containerd's own verdict on what it was given: the ingest becomes a blob, or vanishes.
//!
//! containerd checks every digest when it commits an ingest. Watching what becomes of the ingest
//! costs a few looks at two paths; hashing the bytes here would cost more than moving them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Content,
    store::Store,
    verdict::{Verdict, Verdicts, Watch},
};
use crate::{digest::Digest, disk};

/// Interval of the lookups: the first, and the longest. A small layer is committed at once, a large
/// one when the disk has it.
const LOOKUP_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));
/// After this there is no verdict: containerd may have to fetch the rest from the registry first.
const PATIENCE: Duration = Duration::from_mins(5);
/// Most threads that read ingests at the same time.
static LOOKING: Semaphore = Semaphore::const_new(8);
/// Longest name of an ingest; the digest stands at its end.
const MAX_REF: u64 = 4096;

/// An ingest of containerd: a blob on its way in.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) directory: PathBuf,
    /// Open, so that its size can be read after its removal.
    pub(crate) data: Option<File>,
    /// Size of the whole blob in bytes, if containerd knows it.
    pub(crate) total: Option<u64>,
}

/// The watched ingest of one object.
#[derive(Debug)]
struct Watched {
    /// Where the object will be.
    blob: PathBuf,
    ingest: Ingest,
}

impl Verdicts for Content {
    /// containerd opens an ingest before it asks for the bytes; without one the client is another.
    fn watch<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Box<dyn Watch>>> {
        // How the content is followed says nothing: before its first pull containerd 2 has no
        // directory, and the agent finds it only after that.
        let (store, digest) = (self.0.store.clone(), digest.clone());
        Box::pin(async move {
            // Reads every ingest, on a disk that is busy with them.
            let begin = move || Ok(Watched::begin(&store, &digest));
            let watched = disk::apart(&LOOKING, PATIENCE, begin).await.ok()??;
            let watch: Box<dyn Watch> = Box::new(watched);
            Some(watch)
        })
    }
}

impl Watch for Watched {
    fn verdict(self: Box<Self>) -> BoxFuture<'static, Verdict> {
        Box::pin(self.wait())
    }
}

impl Watched {
    fn begin(store: &Store, digest: &Digest) -> Option<Self> {
        // A store that cannot be listed shows no ingest either.
        let ingest = Ingest::find(store, digest).ok().flatten()?;
        Some(Self {
            blob: store.blob(digest),
            ingest,
        })
    }

    async fn wait(self) -> Verdict {
        let verdict = timeout(PATIENCE, self.end());
        verdict.await.unwrap_or(Verdict::Unknown)
    }

    async fn end(mut self) -> Verdict {
        let mut pause = LOOKUP_INTERVAL.0;
        loop {
            // containerd holds these directories while it commits.
            let look = move || Ok((self.look(), self));
            match disk::apart(&LOOKING, PATIENCE, look).await {
                Ok((None, watched)) => self = watched,
                Ok((Some(verdict), _)) => return verdict,
                Err(_) => return Verdict::Unknown,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOKUP_INTERVAL.1);
        }
    }

    fn look(&mut self) -> Option<Verdict> {
        if self.blob.exists() {
            return Some(Verdict::Right);
        }
        let verdict = self.ingest.look()?;
        // Committing moves the data first and removes the rest of the ingest after it.
        let is_committed = self.blob.exists();
        Some(if is_committed {
            Verdict::Right
        } else {
            verdict
        })
    }
}

impl Ingest {
    /// The ingest of a blob. Reads the name of each ingest there is, and may wait for the disk.
    ///
    /// # Errors
    /// When the ingests cannot be listed.
    pub(crate) fn find(store: &Store, digest: &Digest) -> io::Result<Option<Self>> {
        for entry in fs::read_dir(store.ingests())? {
            let directory = entry?.path();
            // Ingests appear and vanish; an unreadable one is not the wanted one.
            let Ok(name) = read_text(&directory.join("ref")) else {
                continue;
            };
            if name.trim_end().ends_with(digest.as_str()) {
                return Ok(Some(
                    Self {
                        directory,
                        data: None,
                        total: None,
                    }
                    .opened(),
                ));
            }
        }
        Ok(None)
    }

    /// Opens the files that exist by now: those of an ingest appear one by one.
    fn opened(mut self) -> Self {
        self.open();
        self
    }

    fn open(&mut self) {
        if self.data.is_none() {
            self.data = File::open(self.directory.join("data")).ok();
        }
        if self.total.is_none() {
            let total = read_text(&self.directory.join("total")).ok();
            self.total = total.and_then(|text| text.trim().parse().ok());
        }
    }

    /// Whether its data file was removed. The next pull makes another ingest of the same name.
    fn is_removed(&self) -> bool {
        let data = self.data.as_ref().and_then(|data| data.metadata().ok());
        data.is_some_and(|data| data.nlink() == 0)
    }

    /// Bytes in its data file, also after it is gone.
    pub(crate) fn size(&self) -> Option<u64> {
        Some(self.data.as_ref()?.metadata().ok()?.len())
    }

    /// The verdict, once the ingest has ended.
    fn look(&mut self) -> Option<Verdict> {
        if self.directory.exists() && !self.is_removed() {
            self.open();
            return None;
        }
        match (self.size(), self.total) {
            (Some(size), Some(total)) if size >= total => Some(Verdict::Wrong),
            // It was abandoned before its end, or its end was not observed.
            _ => Some(Verdict::Unknown),
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_REF).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
