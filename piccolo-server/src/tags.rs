//! What registries said of tags lately, and which node is to ask: one for all of a group.
//!
//! Soft state in memory. A word's age counts from when its node was sent to the registry, by this process's
//! own clock. Only a node that was sent may say what the registry said.

mod count;
mod record;

use std::{collections::HashMap, time::Duration};

use daemon::scope::Scope;
use parking_lot::Mutex;
use piccolo_api::{Holder, RegistryWord, TagReply, TagTarget};
use swarm::Key;
use tokio::time::Instant;

pub(crate) use self::count::METRICS;
use self::record::Record;

/// Tags that are remembered, some 400 bytes each at most; of others each node asks the registry.
const MAX_TAGS: usize = 65_536;
/// Of those, the tags that one node was sent to ask for.
const MAX_TAGS_OF_NODE: u32 = 256;
/// How long a registry's word is kept at most, whatever a node asks for.
const LONGEST: Duration = Duration::from_hours(1);
/// Longest digest that is taken, `sha512:` and its digits, and longest media type.
const MAX_TEXT: (usize, usize) = (135, 255);
/// Between two removals of what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The tags of all groups.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_tag: HashMap<Key, Record>,
    /// How many of them each node was sent to ask for.
    of_nodes: HashMap<Holder, u32>,
}

impl Tags {
    /// Drops what is too old, and counts, until the scope drains.
    pub(crate) async fn run(&self, scope: Scope) {
        loop {
            tokio::select! {
                () = scope.draining() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
            let mut records = self.records.lock();
            records.sweep(Instant::now());
            count::remembered(records.by_tag.len());
        }
    }

    /// What `holder` is to do about a tag of which it takes a word up to the age of `max_age`.
    pub(crate) fn ask(&self, tag: Key, holder: Holder, max_age: Duration) -> TagReply {
        let reply = self
            .records
            .lock()
            .ask(tag, holder, max_age, Instant::now());
        count::answered(&reply);
        reply
    }

    /// The registry said this to `holder`. It counts if that was sent there.
    pub(crate) fn tell(&self, tag: Key, holder: Holder, word: RegistryWord) -> TagReply {
        let mut records = self.records.lock();
        let record = records.by_tag.get_mut(&tag);
        let is_taken = record.is_some_and(|record| record.tell(holder, known(word)));
        drop(records);
        count::told(is_taken);
        TagReply::Alone
    }

    /// Nobody who is alive in a group asks so.
    pub(crate) fn stranger() -> TagReply {
        count::answered(&TagReply::Alone);
        TagReply::Alone
    }
}

/// The word, where it is one that may be kept.
fn known(word: RegistryWord) -> RegistryWord {
    let is_too_long = |target: &TagTarget| {
        let media_type = target.media_type.as_ref().map_or(0, String::len);
        target.digest.len() > MAX_TEXT.0 || media_type > MAX_TEXT.1
    };
    match word {
        RegistryWord::Digest(target) if is_too_long(&target) => RegistryWord::Nothing,
        word => word,
    }
}

impl Records {
    fn ask(&mut self, tag: Key, holder: Holder, max_age: Duration, now: Instant) -> TagReply {
        let max_age = max_age.min(LONGEST);
        if max_age.is_zero() {
            return TagReply::Alone;
        }
        let known = self.by_tag.get_mut(&tag);
        if let Some(reply) = known.and_then(|known| known.reply(holder, max_age, now)) {
            return reply;
        }
        // Nothing is known, or what was is too old, or the node that asked was not heard again.
        let lost = self.remove(tag).map_or(0, |record| record.lost(now));
        let of_node = self.of_nodes.get(&holder).copied().unwrap_or_default();
        if self.by_tag.len() >= MAX_TAGS || of_node >= MAX_TAGS_OF_NODE {
            return TagReply::Alone;
        }
        self.of_nodes.insert(holder, of_node + 1);
        let record = Record::asking(holder, max_age, lost, now);
        self.by_tag.insert(tag, record);
        TagReply::Ask
    }

    fn remove(&mut self, tag: Key) -> Option<Record> {
        let record = self.by_tag.remove(&tag)?;
        if let Some(count) = self.of_nodes.get_mut(&record.by()) {
            *count -= 1;
            if *count == 0 {
                self.of_nodes.remove(&record.by());
            }
        }
        Some(record)
    }

    fn sweep(&mut self, now: Instant) {
        let old = self.by_tag.iter().filter(|(_, record)| record.is_over(now));
        let old: Vec<_> = old.map(|(tag, _)| *tag).collect();
        for tag in old {
            self.remove(tag);
        }
        if self.by_tag.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> Holder {
        format!("10.{}.{}.{}:7787", n >> 16, n >> 8 & 255, n & 255)
            .parse()
            .expect("a holder")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_a_bound_and_goes() {
        let mut records = Records::default();
        let ttl = Duration::from_mins(1);
        let begin = Instant::now();
        let ask = |records: &mut Records, n: u32, now| {
            records.ask(Key(u128::from(n)), node(n / 100), ttl, now)
        };
        for n in 0..=u32::try_from(MAX_TAGS).expect("few") {
            let reply = ask(&mut records, n, begin);
            let is_full = usize::try_from(n).expect("few") == MAX_TAGS;
            assert_eq!(reply == TagReply::Alone, is_full, "{n}: {reply:?}");
        }
        records.sweep(begin + ttl);
        assert!(records.by_tag.is_empty() && records.of_nodes.is_empty());
        assert_eq!(ask(&mut records, 0, begin + ttl), TagReply::Ask);
    }
}
