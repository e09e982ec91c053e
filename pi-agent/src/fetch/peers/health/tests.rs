//! Which peers are skipped, for how long, and what is evicted.

use super::*;

/// Comes before every holder.
fn lowest() -> Holder {
    Holder::new(([0, 0, 0, 1], 1).into()).unwrap()
}

fn digest(letter: char) -> Digest {
    let text = format!("sha256:{}", letter.to_string().repeat(64));
    text.parse().unwrap()
}

#[test]
fn a_quarantine_ends_by_itself() {
    let health = Health::default();
    let (peer, now) = (lowest(), Instant::now());
    let lie = |letter| health.failed(peer, &digest(letter), FailureKind::WrongBytes, now);
    assert_eq!(lie('a'), Some(Scope::Object));
    assert_eq!(health.standing(peer, &digest('a'), now), Standing::Out);
    assert_eq!(health.standing(peer, &digest('f'), now), Standing::Good);
    lie('b');
    assert_eq!(lie('c'), Some(Scope::Peer));
    assert_eq!(health.standing(peer, &digest('f'), now), Standing::Out);
    assert_eq!(health.quarantines(now).len(), 4);
    let after = now + QUARANTINE;
    assert_eq!(health.standing(peer, &digest('a'), after), Standing::Good);
    assert!(health.quarantines(after).is_empty());
    assert!(!health.is_suspect(&digest('a'), after));
}

#[test]
fn lies_are_forgotten_after_a_while() {
    let health = Health::default();
    let (peer, mut now) = (lowest(), Instant::now());
    for letter in ['a', 'b', 'c', 'd', 'e'] {
        let scope = health.failed(peer, &digest(letter), FailureKind::WrongBytes, now);
        assert_eq!(scope, Some(Scope::Object));
        now += FORGOTTEN;
    }
}

#[test]
fn a_peer_that_stays_away_is_asked_ever_less_often() {
    let health = Health::default();
    let (peer, mut now) = (lowest(), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..6 {
        health.failed(peer, &digest('a'), FailureKind::Refused, now);
        let mut pause = Duration::ZERO;
        while health.standing(peer, &digest('b'), now + pause) == Standing::Out {
            pause += Duration::from_secs(1);
        }
        pauses.push(pause.as_secs());
        now += pause;
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    health.delivered(peer);
    health.failed(peer, &digest('a'), FailureKind::Refused, now);
    assert_eq!(
        health.standing(peer, &digest('b'), now + DOWN),
        Standing::Good
    );
}

#[test]
fn the_tables_are_bounded() {
    let health = Health::default();
    let now = Instant::now();
    for port in 1..=u16::try_from(MOST.get() + 100).unwrap() {
        let peer = Holder::new(([10, 0, 0, 1], port).into()).unwrap();
        health.failed(peer, &digest('a'), FailureKind::WrongBytes, now);
    }
    let table = health.lock();
    assert_eq!(table.lied.len(), MOST.get());
    assert!((1..=MOST.get()).contains(&table.liars.len()));
}

#[test]
fn a_fresh_quarantine_survives_a_flood() {
    let health = Health::default();
    let mut now = Instant::now();
    let many = u16::try_from(MOST.get()).unwrap();
    let others = |port| Holder::new(([10, 0, 0, 1], port).into()).unwrap();
    for port in 1..=many {
        health.failed(others(port), &digest('a'), FailureKind::WrongBytes, now);
        now += Duration::from_millis(1);
    }
    let fresh = lowest();
    for letter in ['a', 'b', 'c'] {
        health.failed(fresh, &digest(letter), FailureKind::WrongBytes, now);
    }
    // Failures of any kind that cost a peer nothing, and other lies but for a few.
    for port in 1..=many {
        let peer = others(port);
        health.failed(peer, &digest('d'), FailureKind::Refused, now);
        health.failed(peer, &digest('d'), FailureKind::Missing, now);
        health.overtaken(peer, now);
    }
    for port in 1..many - 3 {
        health.failed(others(port), &digest('e'), FailureKind::WrongBytes, now);
    }
    assert_eq!(health.standing(fresh, &digest('a'), now), Standing::Out);
    assert_eq!(health.standing(fresh, &digest('f'), now), Standing::Out);
    let held = health.quarantines(now);
    assert_eq!(held.iter().filter(|q| q.peer == fresh).count(), 4);
    // The oldest was evicted.
    let oldest = (others(1), digest('a').to_string());
    let is_oldest = |q: &Quarantine| q.peer == oldest.0 && q.digest == Some(oldest.1.clone());
    assert!(!held.iter().any(is_oldest));
}
