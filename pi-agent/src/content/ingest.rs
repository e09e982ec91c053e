//! containerd's own verdict on what it was given: the ingest becomes a blob, or vanishes.
//!
//! containerd checks every digest when it commits an ingest. Watching what becomes of the ingest
//! costs a few looks at two paths; hashing the bytes here would cost more than moving them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
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

    /// Bytes in its data file, also after it is gone.
    pub(crate) fn size(&self) -> Option<u64> {
        Some(self.data.as_ref()?.metadata().ok()?.len())
    }

    /// The verdict, once the ingest has ended.
    fn look(&mut self) -> Option<Verdict> {
        if self.directory.exists() {
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
mod tests {
    use std::{fs, path::PathBuf};

    use super::{Digest, LOOKUP_INTERVAL, Store, Verdict, Watched};

    struct Bed {
        root: tempfile::TempDir,
        store: Store,
        digest: Digest,
    }

    impl Bed {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("blobs/sha256")).unwrap();
            fs::create_dir_all(root.path().join("ingest/1")).unwrap();
            let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
            let store = Store::new(root.path().to_owned());
            Self {
                root,
                store,
                digest,
            }
        }

        fn ingest(&self, data: &[u8]) -> PathBuf {
            let ingest = self.root.path().join("ingest/1");
            let name = format!("k8s.io/1/layer-{}", self.digest);
            fs::write(ingest.join("ref"), name).unwrap();
            fs::write(ingest.join("total"), "4").unwrap();
            fs::write(ingest.join("data"), data).unwrap();
            ingest
        }

        /// The verdict when `end` happens to the ingest while it is watched.
        async fn verdict(&self, end: impl FnOnce()) -> Verdict {
            let after = async {
                tokio::time::sleep(LOOKUP_INTERVAL.0 * 3).await;
                end();
            };
            let watched = Watched::begin(&self.store, &self.digest).unwrap();
            tokio::join!(watched.wait(), after).0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_is_right() {
        let bed = Bed::new();
        let ingest = bed.ingest(b"four");
        let blob = bed.root.path().join("blobs/sha256").join(bed.digest.hex());
        let verdict = bed.verdict(|| {
            fs::rename(ingest.join("data"), blob).unwrap();
            fs::remove_dir_all(ingest).unwrap();
        });
        assert_eq!(verdict.await, Verdict::Right);
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_ingest_that_vanishes_is_wrong() {
        let bed = Bed::new();
        let ingest = bed.ingest(b"four");
        let verdict = bed.verdict(|| fs::remove_dir_all(ingest).unwrap());
        assert_eq!(verdict.await, Verdict::Wrong);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_pull_is_no_verdict() {
        let bed = Bed::new();
        let ingest = bed.ingest(b"thr");
        let verdict = bed.verdict(|| fs::remove_dir_all(ingest).unwrap());
        assert_eq!(verdict.await, Verdict::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_seen_of_an_ingest_is_no_verdict() {
        for missing in ["data", "total"] {
            let bed = Bed::new();
            let ingest = bed.ingest(b"four");
            fs::remove_file(ingest.join(missing)).unwrap();
            let verdict = bed.verdict(|| fs::remove_dir_all(ingest).unwrap());
            assert_eq!(verdict.await, Verdict::Unknown, "{missing}");
        }
    }

    #[test]
    fn without_an_ingest_nothing_is_watched() {
        let bed = Bed::new();
        assert!(Watched::begin(&bed.store, &bed.digest).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ingest_that_stays_is_no_verdict() {
        let bed = Bed::new();
        bed.ingest(b"four");
        assert_eq!(bed.verdict(|| {}).await, Verdict::Unknown);
    }
}
