//! All keys' herds, bounded.

mod look;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::answer::{Answer, Heard, Permit, Source, Standing, Verdict, Why};
use crate::budget::Bucket;
use crate::herd::{self, Ask, Context, Found, Herd, Ms, Noted, Said};
use crate::identity::Node;
use crate::names::Names;
use crate::pace::Paces;
use crate::{Change, Event, Fault, Join, Key, NodePlace, Progress, Rules, Totals};

/// Who wants which key, and from whom each takes it. `A` is what nodes are called, such as the
/// address on which they serve peers.
#[derive(Debug)]
pub struct Swarm<A> {
    rules: Rules,
    epoch: u32,
    started: Duration,
    herds: HashMap<Key, Herd>,
    names: Names<A>,
    bucket: Bucket,
    paces: Paces,
    members: usize,
    changes: VecDeque<Change<A>>,
    sums: Totals,
}

impl<A: Copy + Eq + Hash> Swarm<A> {
    /// Most changes kept until they are taken.
    pub const MOST_CHANGES: usize = 4096;

    /// An instance that begins at `now`. `epoch` is the Unix time in seconds, so that the ranks it
    /// gives come after those that were given before its start.
    pub fn new(rules: Rules, epoch: u32, now: Duration) -> Self {
        let rules = rules.sane();
        Self {
            bucket: Bucket::new(rules.budget),
            rules,
            epoch,
            started: now,
            herds: HashMap::new(),
            names: Names::new(),
            paces: Paces::default(),
            members: 0,
            changes: VecDeque::new(),
            sums: Totals::default(),
        }
    }

    /// A node wants a key, or wants another source for it. Answered at once.
    pub fn join(&mut self, now: Duration, key: Key, join: &Join<A>) -> Answer<A> {
        self.sums.joins += 1;
        let Some(node) = self.room_for(now, key, join.node) else {
            return Answer {
                rank: None,
                verdict: Verdict::Wait {
                    until: now + Duration::from_secs(1),
                    why: Why::Full,
                },
            };
        };
        let ask = self.ask_of(node, join);
        self.sums.handovers += u64::try_from(ask.tried.len()).unwrap_or(0);
        let found = self.with(now, key, |herd, context| herd.join(&ask, context));
        let answer = self.answer(key, found);
        self.sums.waits += u64::from(matches!(answer.verdict, Verdict::Wait { .. }));
        answer
    }

    /// Whether the node is remembered as one that wants the key, or has it.
    pub fn knows(&self, key: Key, node: A) -> bool {
        self.known(key, node).is_some()
    }

    /// A node drains slowly, has ended the transfers to others, and requests a new source.
    /// None where it is not known.
    pub fn slow(&mut self, now: Duration, key: Key, join: &Join<A>) -> Option<Answer<A>> {
        let node = self.known(key, join.node)?;
        let ask = self.ask_of(node, join);
        let found = self.with(now, key, |herd, context| herd.slow(node, &ask, context));
        found.flatten().map(|found| self.answer(key, Some(found)))
    }

    /// A node says that it drains slowly, and goes on with what it takes: nobody is sent to it any more, and
    /// the next of its chain is given its source.
    pub fn slows(&mut self, now: Duration, key: Key, node: A) {
        if let Some(node) = self.known(key, node) {
            self.with(now, key, |herd, context| herd.slows(node, context.now));
        }
    }

    /// A node reports its progress; one with a permit does so at the first byte, then each second.
    pub fn progress(&mut self, now: Duration, key: Key, progress: &Progress<A>) -> Heard {
        let unknown = Heard {
            rank: None,
            standing: Standing::Unknown,
        };
        let Some(node) = self.room_for(now, key, progress.node) else {
            return unknown;
        };
        let at = herd::ms(now.saturating_sub(self.started));
        let stall = herd::ms(self.rules.stall);
        let said = Said {
            node,
            place: progress.place,
            bytes: progress.bytes,
            rank: progress.rank,
            permit: progress.permit,
            registry: progress.registry,
            stalled: progress.stalled,
            is_fed: (self.names.fed(node)).is_some_and(|fed| at.saturating_sub(fed) < stall),
        };
        let noted = self.with(now, key, |herd, context| {
            (herd.progress(&said, context), herd.origin)
        });
        let Some((noted, origin)) = noted else {
            return unknown;
        };
        if noted.moved {
            self.names.feed(node, at);
        }
        let Noted {
            rank, until, lost, ..
        } = noted;
        let standing = match until {
            Some(until) => Standing::Permit {
                until: time(origin, until),
            },
            None if lost => Standing::Lost,
            None => Standing::Noted,
        };
        Heard { rank, standing }
    }

    /// A node was failed by a source, and does not ask for another now.
    pub fn report(&mut self, now: Duration, key: Key, by: A, source: A, fault: Fault) {
        if let Some(by) = self.known(key, by)
            && let Some(source) = self.known(key, source)
        {
            self.with(now, key, |herd, context| {
                herd.reported(by, source, fault, context);
            });
        }
    }

    /// A node does not want the key any more.
    pub fn leave(&mut self, now: Duration, key: Key, node: A) {
        if let Some(node) = self.known(key, node) {
            self.with(now, key, |herd, context| herd.leave(node, context.now));
        }
    }

    /// A node is gone, with all its keys.
    pub fn gone(&mut self, now: Duration, node: A) {
        let Some(number) = self.names.number(node) else {
            return;
        };
        for key in self.sorted(|herd| herd.knows(number)) {
            self.leave(now, key, node);
        }
    }

    /// A node has the whole object. It is remembered only where some node wants the key.
    pub fn complete(&mut self, now: Duration, key: Key, node: A) {
        if let Some(node) = self.known(key, node) {
            self.with(now, key, |herd, context| herd.complete(node, context.now));
        }
    }

    /// A node that fetched a key has the whole of it now. Unlike [`Swarm::complete`] this is remembered
    /// also where nothing is known of the key, as after a start.
    pub fn fetched(&mut self, now: Duration, key: Key, node: A, place: NodePlace) {
        if self.knows(key, node) {
            self.complete(now, key, node);
        } else {
            self.holder(now, key, node, place);
        }
    }

    /// Before a join: a node has had the whole of the key already. For keys with few holders, which
    /// are to be spared; where there are many, the asker is better answered with them.
    pub fn holder(&mut self, now: Duration, key: Key, node: A, place: NodePlace) {
        if let Some(node) = self.room_for(now, key, node) {
            self.with(now, key, |herd, context| {
                herd.holder(node, place, context.now, context.rules);
            });
        }
    }

    /// A node has the whole of a key no more.
    pub fn withdrawn(&mut self, now: Duration, key: Key, node: A) {
        if let Some(node) = self.known(key, node) {
            self.with(now, key, |herd, context| herd.withdrawn(node, context.now));
        }
    }

    /// Drops a key for which another instance decides now: its state here would grow stale.
    pub fn forget(&mut self, key: Key) {
        self.drop_herd(key, Event::Settled);
    }

    /// What was passed on of a key was false from `maker` on: all begin again, and nobody is sent
    /// to that node for this key.
    pub fn cut(&mut self, now: Duration, key: Key, maker: A, place: NodePlace) {
        let before = self.herds.get(&key).map(Herd::before).unwrap_or_default();
        self.drop_herd(key, Event::Cut);
        if let Some(node) = self.room_for(now, key, maker) {
            self.with(now, key, |herd, context| {
                herd.begin_anew(before, context.latest);
                herd.holder(node, place, context.now, context.rules);
                herd.bar_node(node, context.now);
            });
        }
    }

    /// `by`'s containerd refused what fits the chunk list that `maker` made: the key is cut, if both take
    /// part and it was not cut for this or too often already. Gives whether it was.
    pub fn refused(&mut self, now: Duration, key: Key, by: A, maker: A, place: NodePlace) -> bool {
        let (Some(by), Some(node)) = (self.known(key, by), self.known(key, maker)) else {
            return false;
        };
        let herd = self.herds.get(&key);
        if !herd.is_some_and(|herd| herd.may_be_false(by, node)) {
            return false;
        }
        self.cut(now, key, maker, place);
        true
    }

    /// To be called each second: ends leases, takes out the silent, drops what has settled.
    pub fn tick(&mut self, now: Duration) {
        let rules = self.rules.clone();
        for key in self.sorted(|_| true) {
            let settled = self.with(now, key, |herd, context| {
                herd.tick(context.now, &rules);
                herd.is_settled(context.now, &rules)
            });
            if settled == Some(true) {
                self.sums.settled += 1;
                self.drop_herd(key, Event::Settled);
            }
        }
    }

    /// Ends the permits for a key that have run out, as each call about it does.
    pub fn expire(&mut self, now: Duration, key: Key) {
        self.with(now, key, |herd, context| {
            herd.expire(context.now, context.rules);
        });
    }

    /// What changed since this was last asked, the oldest first.
    pub fn changes(&mut self) -> impl Iterator<Item = Change<A>> + '_ {
        self.changes.drain(..)
    }

    fn ask_of(&self, node: Node, join: &Join<A>) -> Ask {
        let tried = join.tried.iter().take(Self::MOST_TRIED);
        let known = tried.filter_map(|tried| Some((self.names.number(tried.source)?, tried.fault)));
        Ask {
            node,
            place: join.place,
            offset: join.offset,
            tried: known.collect(),
            want: join.sources,
            waited: join.waited_ms,
            stalled: join.stalled,
            rank: join.rank,
        }
    }

    /// More sources that were given up are not read of one join.
    const MOST_TRIED: usize = 64;

    /// The node's number if the key's herd knows it.
    fn known(&self, key: Key, node: A) -> Option<Node> {
        let number = self.names.number(node)?;
        let herd = self.herds.get(&key)?;
        herd.knows(number).then_some(number)
    }

    /// The node's number, with room for it in the key's herd; none where there is no more room.
    fn room_for(&mut self, now: Duration, key: Key, node: A) -> Option<Node> {
        if let Some(number) = self.known(key, node) {
            return Some(number);
        }
        let has_room = self.members < self.rules.most_members
            && self.names.keys(node) < self.rules.most_keys_of_node;
        if !has_room {
            self.sums.refused += 1;
            return None;
        }
        let number = self.names.intern(node)?;
        self.names.keep(number);
        let (epoch, fan) = (self.epoch, self.rules.fan);
        self.herds
            .entry(key)
            .or_insert_with(|| Herd::new(now, epoch, fan));
        Some(number)
    }

    /// Applies an operation to a key's herd, and records its changes.
    fn with<T>(
        &mut self,
        now: Duration,
        key: Key,
        act: impl FnOnce(&mut Herd, &mut Context) -> T,
    ) -> Option<T> {
        let herd = self.herds.get_mut(&key)?;
        let since = |time: Duration| herd::ms(time.saturating_sub(herd.origin));
        let running = now.saturating_sub(self.started).as_secs();
        let mut context = Context {
            now: since(now),
            rules: &self.rules,
            bucket: &mut self.bucket,
            paces: &mut self.paces,
            hush: since(self.started + self.rules.hush),
            clock: now,
            latest: self
                .epoch
                .saturating_add(u32::try_from(running).unwrap_or(u32::MAX)),
        };
        let (before, counts) = (herd.len(), herd.counts);
        let outcome = act(herd, &mut context);
        self.members += herd.len() - before;
        let new = herd.counts;
        let permits = |counts: herd::Counts| counts.turns + counts.patience;
        self.sums.from_registry += u64::from(permits(counts) == 0 && permits(new) > 0);
        self.sums.turns += new.turns - counts.turns;
        self.sums.patience += new.patience - counts.patience;
        self.sums.permits_lost += new.lost - counts.lost;
        self.sums.moves += new.moves - counts.moves;
        self.sums.slow += new.slow - counts.slow;
        self.sums.completed += new.completed - counts.completed;
        self.sums.deepest = self.sums.deepest.max(new.deepest);
        let events = std::mem::take(&mut herd.events);
        for (node, event) in events {
            self.change(key, node, event);
        }
        Some(outcome)
    }

    fn change(&mut self, key: Key, node: Option<Node>, event: Event) {
        if self.changes.len() >= Self::MOST_CHANGES {
            self.changes.pop_front();
            self.sums.changes_missed += 1;
        }
        let node = node.and_then(|node| self.names.name(node));
        self.changes.push_back(Change { key, node, event });
    }

    fn drop_herd(&mut self, key: Key, event: Event) {
        if let Some(herd) = self.herds.remove(&key) {
            self.members -= herd.len();
            for node in herd.nodes() {
                self.names.release(node);
            }
            self.change(key, None, event);
        }
        if self.herds.is_empty() {
            self.herds.shrink_to_fit();
        }
    }

    /// Keys in their order, so that the same calls give the same answers in every run.
    fn sorted(&self, wanted: impl Fn(&Herd) -> bool) -> BTreeSet<Key> {
        let herds = self.herds.iter().filter(|(_, herd)| wanted(herd));
        herds.map(|(key, _)| *key).collect()
    }

    fn answer(&self, key: Key, found: Option<Found>) -> Answer<A> {
        let origin = self
            .herds
            .get(&key)
            .map_or(Duration::ZERO, |herd| herd.origin);
        let (rank, verdict) = match found {
            Some(found) => (found.rank, self.verdict(origin, found.verdict)),
            None => (None, None),
        };
        // Members have names, so there is always an answer; asking again is the safe one.
        let verdict = verdict.unwrap_or(Verdict::Wait {
            until: origin,
            why: Why::Full,
        });
        Answer { rank, verdict }
    }

    fn verdict(&self, origin: Duration, verdict: herd::Verdict) -> Option<Verdict<A>> {
        let time = |ms| time(origin, ms);
        Some(match verdict {
            herd::Verdict::Take { sources, again } => {
                let named = |source: herd::Source| {
                    Some(Source {
                        node: self.names.name(source.node)?,
                        rack: source.rack,
                        rank: source.rank,
                        bytes: source.bytes,
                        complete: source.complete,
                    })
                };
                let sources = sources.into_iter().map(named).collect::<Option<_>>()?;
                let again = again.map(time);
                Verdict::Take { sources, again }
            }
            herd::Verdict::Permit { until, reason } => Verdict::Permit(Permit {
                until: time(until),
                reason,
            }),
            herd::Verdict::Wait { until, why } => Verdict::Wait {
                until: time(until),
                why,
            },
        })
    }
}

/// A herd's time as the caller's.
fn time(origin: Duration, ms: Ms) -> Duration {
    origin + Duration::from_millis(u64::from(ms))
}
