//! Blobs that containerd is about to commit: it asked here for them.
//!
//! Where the content store is listed over gRPC, nothing tells of a commit before containerd 2, and
//! looking at everything again and again would cost too much. Looking for the few blobs of the pulls
//! that are in flight costs next to nothing.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::digest::Digest;

/// Interval of the lookups of one blob: the first, and the longest.
const LOOKUP_INTERVAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// A blob that is not committed by then is left to the next listing.
const PATIENCE: Duration = Duration::from_mins(10);
/// Most blobs that are looked up; the newest evicts the oldest.
const MAX_BLOBS: usize = 64;

/// Blobs that await their commit.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    blobs: Mutex<VecDeque<Blob>>,
    changed: Notify,
}

#[derive(Debug)]
struct Blob {
    digest: Digest,
    since: Instant,
    look: Instant,
}

impl Expected {
    /// A blob will be committed soon.
    pub(crate) fn add(&self, digest: &Digest) {
        let now = Instant::now();
        let mut blobs = self.lock();
        if blobs.iter().any(|blob| blob.digest == *digest) {
            return;
        }
        if blobs.len() >= MAX_BLOBS {
            blobs.pop_front();
        }
        blobs.push_back(Blob {
            digest: digest.clone(),
            since: now,
            look: now + LOOKUP_INTERVAL.0,
        });
        drop(blobs);
        self.changed.notify_one();
    }

    /// A blob is committed.
    pub(crate) fn came(&self, digest: &Digest) {
        self.lock().retain(|blob| blob.digest != *digest);
    }

    /// Waits until the lookup of a blob is due.
    pub(crate) async fn due(&self) -> Digest {
        loop {
            let next = match self.take_due(Instant::now()) {
                Ok(digest) => return digest,
                Err(next) => next,
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// The blob whose lookup is due at `now`, or when the next one is due.
    fn take_due(&self, now: Instant) -> Result<Digest, Option<Instant>> {
        let mut blobs = self.lock();
        blobs.retain(|blob| now - blob.since < PATIENCE);
        let Some(blob) = blobs.iter_mut().min_by_key(|blob| blob.look) else {
            return Err(None);
        };
        if blob.look > now {
            return Err(Some(blob.look));
        }
        // The longer a commit takes, the rarer are the lookups.
        blob.look = now + ((now - blob.since) / 8).clamp(LOOKUP_INTERVAL.0, LOOKUP_INTERVAL.1);
        Ok(blob.digest.clone())
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, VecDeque<Blob>> {
        self.blobs.lock()
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Instant, MAX_BLOBS, PATIENCE};

    fn digest(number: usize) -> super::Digest {
        format!("sha256:{number:064x}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_blob_is_looked_for_until_it_comes() {
        let expected = Expected::default();
        let begin = Instant::now();
        expected.add(&digest(1));
        let mut looks = 0;
        while begin.elapsed().as_secs() < 60 {
            assert_eq!(expected.due().await, digest(1));
            looks += 1;
        }
        assert!((60..100).contains(&looks), "{looks} looks in a minute");
        expected.came(&digest(1));
        expected.add(&digest(2));
        assert_eq!(expected.due().await, digest(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_given_up() {
        let expected = Expected::default();
        for number in 0..=MAX_BLOBS {
            expected.add(&digest(number));
        }
        let blobs = expected.lock().len();
        assert_eq!(blobs, MAX_BLOBS);
        assert!(expected.take_due(Instant::now() + PATIENCE / 2).is_ok());
        let never = expected.take_due(Instant::now() + PATIENCE);
        assert_eq!(never, Err(None));
    }
}
