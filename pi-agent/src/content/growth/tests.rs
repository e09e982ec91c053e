//! An ingest that the test writes as containerd does.

use std::{fs, io::Write as _, path::PathBuf};

use daemon::scope::{Deaths, Scope};

use super::*;

/// A content store with one ingest that the test writes as containerd does.
struct Bed {
    _root: tempfile::TempDir,
    growth: Growth,
    digest: Digest,
    ingest: PathBuf,
    blob: PathBuf,
    _running: (Scope, Deaths),
}

impl Bed {
    fn new(policy: Policy, before: &[u8]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let ingest = root.path().join("ingest/1");
        fs::create_dir_all(&ingest).unwrap();
        fs::create_dir_all(root.path().join("blobs/sha256")).unwrap();
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        fs::write(ingest.join("ref"), format!("k8s.io/1/layer-{digest}")).unwrap();
        fs::write(ingest.join("total"), "8").unwrap();
        fs::write(ingest.join("data"), before).unwrap();
        let growth = Growth::new(
            Store::new(root.path().to_owned()),
            policy,
            Proofs::default(),
        );
        let (scope, deaths) = Scope::new();
        scope.service("growth", growth.clone().run(scope.clone()));
        Self {
            blob: root.path().join("blobs/sha256").join(digest.hex()),
            growth,
            digest,
            ingest,
            _root: root,
            _running: (scope, deaths),
        }
    }

    async fn follow(&self, start: u64) -> Option<Arc<Growing>> {
        let asked = Asked {
            registry: Some("docker.io"),
            repository: "library/busybox",
            kind: Kind::Blob,
            start,
        };
        self.growth.follow(&self.digest, asked).await
    }

    fn write(&self, bytes: &[u8]) {
        let mut options = fs::OpenOptions::new();
        let mut data = options.append(true).open(self.ingest.join("data")).unwrap();
        data.write_all(bytes).unwrap();
    }

    fn commit(&self) {
        fs::rename(self.ingest.join("data"), &self.blob).unwrap();
        fs::remove_dir_all(&self.ingest).unwrap();
    }
}

#[tokio::test]
async fn growth_is_told_of_up_to_the_commit() {
    let bed = Bed::new(Policy::default(), b"");
    let growing = bed.follow(0).await.unwrap();
    assert_eq!((growing.total(), growing.reached().bytes), (8, 0));
    bed.write(b"four");
    assert_eq!(growing.beyond(0).await.bytes, 4);
    bed.write(b"more");
    assert_eq!(growing.beyond(4).await.bytes, 8);
    bed.commit();
    assert_eq!(growing.ended().await, Ended::Committed);
    // Its bytes outlive the ingest.
    let mut bytes = [0; 8];
    disk::read_exact_at(growing.data(), &mut bytes, 0)
        .await
        .unwrap();
    assert_eq!(&bytes, b"fourmore");
    assert!(bed.growth.get(&bed.digest).is_some());
}

#[tokio::test]
async fn who_waits_for_a_byte_is_told_that_the_pull_was_given_up() {
    let bed = Bed::new(Policy::default(), b"");
    let growing = bed.follow(0).await.unwrap();
    bed.write(b"four");
    growing.beyond(0).await;
    fs::remove_dir_all(&bed.ingest).unwrap();
    let reached = growing.beyond(4).await;
    assert_eq!((reached.bytes, reached.end), (4, Some(Ended::Vanished)));
    bed.growth.tidy();
    assert!(bed.growth.get(&bed.digest).is_none());
}

#[tokio::test]
async fn a_resumed_pull_counts_from_where_it_goes_on() {
    let bed = Bed::new(Policy::default(), b"four");
    // A writer that began anew left bytes that nobody spoke of.
    assert!(bed.follow(0).await.is_none());
    let growing = bed.follow(4).await.unwrap();
    assert_eq!(growing.reached().bytes, 4);
    bed.write(b"more");
    assert_eq!(growing.beyond(4).await.bytes, 8);
}

#[tokio::test]
async fn what_is_denied_is_not_followed() {
    let deny = vec!["docker.io/library/*".parse().unwrap()];
    let bed = Bed::new(Policy::new(Vec::new(), deny), b"");
    assert!(bed.follow(0).await.is_none());
    // An unknown registry might be denied.
    let asked = Asked {
        registry: None,
        repository: "public",
        kind: Kind::Blob,
        start: 0,
    };
    assert!(bed.growth.follow(&bed.digest, asked).await.is_none());
}

#[tokio::test]
async fn one_blob_is_followed_once() {
    let bed = Bed::new(Policy::default(), b"");
    let first = bed.follow(0).await.unwrap();
    bed.write(b"four");
    first.beyond(0).await;
    // The second of several ranges, as containerd 2 asks for them.
    let second = bed.follow(0).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn without_an_ingest_nothing_is_followed() {
    let bed = Bed::new(Policy::default(), b"");
    fs::remove_dir_all(&bed.ingest).unwrap();
    assert!(bed.follow(0).await.is_none());
    assert!(bed.growth.under_way().is_empty());
}
