//! Batches questions: those of about the same time go to the server in one call.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// How long the first of a batch waits for others: containerd asks for the layers of an image within
/// a few milliseconds.
const GATHER: Duration = Duration::from_millis(3);
/// Most questions in one call.
const MAX_QUESTIONS: usize = 64;

/// Questions that wait for the next call.
#[derive(Debug)]
pub(super) struct Batch<Q, A> {
    line: Mutex<Line<Q, A>>,
    filled: Notify,
}

#[derive(Debug)]
struct Line<Q, A> {
    waiting: Vec<Waiting<Q, A>>,
    /// No task makes calls any more.
    closed: bool,
}

/// A question, and the channel for its answer.
#[derive(Debug)]
pub(super) struct Waiting<Q, A> {
    pub(super) question: Q,
    answer: oneshot::Sender<A>,
}

impl<Q, A> Default for Batch<Q, A> {
    fn default() -> Self {
        Self {
            line: Mutex::new(Line {
                waiting: Vec::new(),
                closed: false,
            }),
            filled: Notify::new(),
        }
    }
}

impl<Q, A> Batch<Q, A> {
    /// Adds a question to the next call. `None` where no task is left to make it.
    pub(super) async fn ask(&self, question: Q) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        {
            let mut line = self.line.lock();
            if line.closed {
                return None;
            }
            line.waiting.push(Waiting { question, answer });
        }
        self.filled.notify_one();
        answered.await.ok()
    }

    /// The next call's questions, once there are any. Questions of dropped requests are left out.
    pub(super) async fn next(&self) -> Vec<Waiting<Q, A>> {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(GATHER).await;
            let batch = self.take();
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    fn take(&self) -> Vec<Waiting<Q, A>> {
        let mut line = self.line.lock();
        line.waiting.retain(|one| !one.answer.is_closed());
        let count = line.waiting.len().min(MAX_QUESTIONS);
        let batch = line.waiting.drain(..count).collect();
        if !line.waiting.is_empty() {
            self.filled.notify_one();
        }
        batch
    }

    /// Ends the calls: waiting and later questions get no answer.
    pub(super) fn close(&self) {
        let mut line = self.line.lock();
        line.closed = true;
        line.waiting.clear();
    }
}

impl<Q, A> Waiting<Q, A> {
    /// Sends the answer, which is dropped if the requester is gone.
    pub(super) fn answer(self, answer: A) {
        let _ = self.answer.send(answer);
    }
}
