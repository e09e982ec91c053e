//! What becomes of an ingest that the test writes as containerd does.

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
async fn an_ingest_that_is_followed_by_another_of_its_name_is_wrong() {
    let bed = Bed::new();
    let ingest = bed.ingest(b"four");
    let verdict = bed.verdict(|| {
        fs::remove_dir_all(&ingest).unwrap();
        fs::create_dir_all(&ingest).unwrap();
        bed.ingest(b"");
    });
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
