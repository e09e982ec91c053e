//! A server whose answers the test holds back.

use std::fs;

use daemon::scope::Deaths;
use futures_util::future::BoxFuture;
use piccolo_api::{FailureKind, Peer};

use super::*;
use crate::{
    content::{Asked, Content, manifest::Descriptor},
    http::Kind,
};

/// What it was told, one report after the other, and when it answers.
#[derive(Debug, Clone, Default)]
struct Server(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    slow: Mutex<Vec<bool>>,
    told: Notify,
    answers: Notify,
}

impl Finder for Server {
    fn find<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Vec<Peer>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn prefetch(&self, _: &[Descriptor]) {}

    fn failed(&self, _: Holder, _: FailureKind) {}

    fn progress(&self, progress: Progress) -> BoxFuture<'_, Option<Standing>> {
        self.0.slow.lock().push(progress.slow);
        self.0.told.notify_one();
        Box::pin(async {
            self.0.answers.notified().await;
            Some(Standing::Noted)
        })
    }
}

impl Server {
    /// Waits for so many reports: whether each said that the node is slow.
    async fn told(&self, reports: usize) -> Vec<bool> {
        loop {
            let slow = self.0.slow.lock().clone();
            if slow.len() >= reports {
                return slow;
            }
            self.0.told.notified().await;
        }
    }
}

/// A blob that containerd has begun to pull.
async fn growing(root: &std::path::Path, scope: &Scope) -> Arc<Growing> {
    let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let ingest = root.join("ingest/1");
    fs::create_dir_all(&ingest).unwrap();
    fs::write(ingest.join("ref"), format!("k8s.io/1/layer-{digest}")).unwrap();
    fs::write(ingest.join("total"), "8").unwrap();
    fs::write(ingest.join("data"), "").unwrap();
    let content = Content::new(root.to_owned());
    content.follow_growth(scope);
    let asked = Asked {
        registry: Some("docker.io"),
        repository: "library/busybox",
        kind: Kind::Blob,
        start: 0,
    };
    content.follow(&digest, asked).await.unwrap()
}

#[tokio::test]
async fn a_slow_node_feeds_others_until_the_server_knows() {
    let root = tempfile::tempdir().unwrap();
    let (scope, _deaths): (Scope, Deaths) = Scope::new();
    let growing = growing(root.path(), &scope).await;
    let server = Server::default();
    let crowds = Crowds::new(Arc::new(server.clone()), scope.clone());
    let member = crowds.member(&growing);
    // A report is in flight, as it tells of the permit.
    member.permitted();
    assert_eq!(server.told(1).await, [false]);
    // Meanwhile it takes from a node and turns out to be slow.
    member.takes(Vec::new());
    member.slows();
    server.0.answers.notify_one();
    assert_eq!(server.told(2).await, [false, true]);
    assert!(!growing.reached().withdrawn, "nobody was told yet");
    server.0.answers.notify_one();
    let withdrawn = async {
        while !growing.reached().withdrawn {
            tokio::task::yield_now().await;
        }
    };
    let withdrawn = timeout(Duration::from_secs(5), withdrawn).await;
    withdrawn.expect("it feeds others for ever");
}
