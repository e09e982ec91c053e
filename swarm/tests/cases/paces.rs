//! The pace of who asks the registry, beside what others got from it of late.

use std::time::Duration;

use swarm::{Fault, Key, Progress, Reason, Registry, Rules, Standing, Verdict};

use crate::{Bed, KEY, may_go, place, sources};

const REGISTRY: Registry = Registry(7);
const MIB: u64 = 1 << 20;

impl Bed {
    /// Tells for `seconds` that a node with a permit gets `rate` MiB in each; gives the last second in
    /// which it still had the permit.
    fn gets(&mut self, key: Key, node: u32, registry: Registry, rate: u64, seconds: u64) -> u64 {
        let mut kept = 0;
        for second in 1..=seconds {
            self.wait(1_000);
            match self.says(key, node, registry, second * rate * MIB) {
                Standing::Permit { .. } => kept = second,
                _ => break,
            }
        }
        kept
    }

    fn says(&mut self, key: Key, node: u32, registry: Registry, bytes: u64) -> Standing {
        let progress = Progress {
            node,
            place: place(node),
            bytes,
            rank: None,
            permit: true,
            registry: Some(registry),
            stalled: false,
        };
        self.swarm.progress(self.now, key, &progress).standing
    }

    /// A node has got a whole key from the registry, at `rate` MiB a second.
    fn got(&mut self, key: Key, node: u32, registry: Registry, rate: u64) {
        let kept = self.gets(key, node, registry, rate, 6);
        assert_eq!(kept, 6, "{node} is as quick as others");
        self.swarm.complete(self.now, key, node);
    }

    /// Node 0 has a permit for a key, and nodes 1 and 2 wait behind it.
    fn crowd(&mut self, key: Key) {
        self.key = key;
        assert_eq!(may_go(&self.join(0)), Some(Reason::Turn));
        assert_eq!(sources(&self.join(1)), [0]);
        assert_eq!(sources(&self.join(2)), [1]);
    }
}

/// Two nodes have got 10 MiB a second from the registry.
fn bed() -> Bed {
    let mut bed = Bed::new(Rules::default());
    bed.got(Key(1), 100, REGISTRY, 10);
    bed.got(Key(2), 200, REGISTRY, 10);
    bed
}

#[test]
fn who_gets_little_of_what_others_got_gives_way() {
    let mut bed = bed();
    bed.crowd(KEY);
    let kept = bed.gets(KEY, 0, REGISTRY, 1, 20);
    assert!((4..=6).contains(&kept), "it had the permit for {kept} s");
    let next = bed.give_up(1, 0, Fault::Empty);
    assert_eq!(may_go(&next), Some(Reason::Turn));
    assert_eq!(sources(&bed.join(2)), [1]);
    // It goes on by itself, and nobody is sent to it; nor does it get the permit back.
    let slow = bed.member(0);
    assert!(slow.slow && slow.permit.is_none(), "{slow:?}");
    assert_eq!(bed.says(KEY, 0, REGISTRY, 30 * MIB), Standing::Lost);
    let last = bed.join(3);
    assert_eq!(sources(&last), [2]);
}

#[test]
fn that_happens_once_for_a_key() {
    let mut bed = bed();
    bed.crowd(KEY);
    bed.gets(KEY, 0, REGISTRY, 1, 20);
    assert_eq!(may_go(&bed.give_up(1, 0, Fault::Empty)), Some(Reason::Turn));
    assert_eq!(bed.gets(KEY, 1, REGISTRY, 1, 60), 60);
}

#[test]
fn a_registry_that_has_become_slow_is_believed_soon() {
    let mut bed = bed();
    let mut lost = 0;
    for key in 10..20 {
        let key = Key(key);
        bed.crowd(key);
        if bed.gets(key, 0, REGISTRY, 1, 20) < 20 {
            lost += 1;
            let next = bed.give_up(1, 0, Fault::Empty);
            assert!(matches!(next.verdict, Verdict::Permit(_)), "{next:?}");
            bed.gets(key, 1, REGISTRY, 1, 20);
        }
        for node in 0..3 {
            bed.swarm.leave(bed.now, key, node);
        }
    }
    assert!((1..=2).contains(&lost), "{lost} of ten keys came twice");
}

/// Of these cases none is one in which another node would get more.
#[test]
fn nobody_gives_way_without_a_reason() {
    let keeps = |mut bed: Bed, registry: Registry| {
        bed.crowd(KEY);
        assert_eq!(bed.gets(KEY, 0, registry, 1, 30), 30);
    };
    // Nothing is known, or only what one node says.
    keeps(Bed::new(Rules::default()), REGISTRY);
    let mut one = Bed::new(Rules::default());
    one.got(Key(1), 100, REGISTRY, 10);
    one.got(Key(2), 100, REGISTRY, 10);
    keeps(one, REGISTRY);
    // It is another registry.
    keeps(bed(), Registry(8));
    // A third of the pace is within what layers differ by.
    let mut third = bed();
    third.crowd(KEY);
    assert_eq!(third.gets(KEY, 0, REGISTRY, 3, 30), 30);
    // It was long ago.
    let mut later = bed();
    later.now += Duration::from_mins(11);
    keeps(later, REGISTRY);
    // Nobody waits behind it.
    let mut alone = bed();
    assert_eq!(may_go(&alone.join(0)), Some(Reason::Turn));
    assert_eq!(alone.gets(KEY, 0, REGISTRY, 1, 30), 30);
}

#[test]
fn nobody_gives_way_while_the_registry_sends_others_the_rest() {
    let mut bed = bed();
    bed.crowd(KEY);
    let others: Vec<_> = (0..9)
        .map(|n| (Key(100 + u128::from(n)), 300 + n))
        .collect();
    for &(key, node) in &others {
        bed.key = key;
        assert_eq!(may_go(&bed.join(node)), Some(Reason::Turn));
    }
    for second in 1..30 {
        bed.wait(1_000);
        for (key, node) in others.iter().copied().chain([(KEY, 0)]) {
            let heard = bed.says(key, node, REGISTRY, second * MIB);
            assert!(
                matches!(heard, Standing::Permit { .. }),
                "{node}: {heard:?}"
            );
        }
    }
}
