//! How long verdicts stand, and what is asked for.

use std::time::Duration;

use tokio::time::Instant;

use super::{TagName, Verdict, Verdicts};

const TTL: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn the_last_verdict_holds_until_another_one_is_known() {
    let verdicts = Verdicts::new(TTL);
    let (registry, path) = ("reg.test:5000", "a");
    let public = |verdicts: &Verdicts| {
        let is = verdicts.is_public("REG.test:05000", path);
        assert_eq!(is, verdicts.is_public_at_each_port("reg.test", path));
        is
    };
    assert!(!public(&verdicts) && verdicts.is_due(registry, path));
    verdicts.learn(registry, path, None);
    assert!(!public(&verdicts) && !verdicts.is_due(registry, path));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(verdicts.is_due(registry, path));

    verdicts.learn(registry, path, Some(Verdict::Public));
    verdicts.changed().await;
    assert!(public(&verdicts));
    tokio::time::advance(TTL).await;
    assert!(verdicts.is_due(registry, path));
    verdicts.learn(registry, path, None);
    assert!(public(&verdicts), "the last one holds");
    assert!(!verdicts.is_due(registry, path));
    verdicts.learn(registry, path, Some(Verdict::Absent));
    assert!(!public(&verdicts), "no more than that there is none");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(verdicts.is_due(registry, path));

    verdicts.learn(registry, path, Some(Verdict::Private));
    assert!(!public(&verdicts));
    tokio::time::advance(Duration::from_mins(11)).await;
    assert!(verdicts.is_due(registry, path));
    verdicts.learn(registry, path, None);
    assert!(!public(&verdicts));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_heard_again_is_public_no_more() {
    let verdicts = Verdicts::new(TTL);
    verdicts.learn("a.test", "a", Some(Verdict::Public));
    verdicts.changed().await;
    let began = Instant::now();
    for _ in 0..12 {
        tokio::time::advance(Duration::from_mins(9)).await;
        verdicts.learn("a.test", "a", None);
        assert!(verdicts.is_public("a.test", "a"));
    }
    verdicts.changed().await;
    assert_eq!(began.elapsed().as_secs(), 2 * TTL.as_secs());
    assert!(!verdicts.is_public("a.test", "a"));
    assert!(!verdicts.is_public_at_each_port("a.test", "a"));
    verdicts.learn("a.test", "a", Some(Verdict::Public));
    assert!(verdicts.is_public("a.test", "a"));
    // Also where nobody waits for changes.
    tokio::time::advance(TTL * 2).await;
    assert!(!verdicts.is_public("a.test", "a"));
    verdicts.learn("a.test", "a", None);
    assert!(!verdicts.is_public("a.test", "a"));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_asked_ever_more_rarely() {
    let verdicts = Verdicts::new(TTL);
    let mut waits = Vec::new();
    for _ in 0..10 {
        verdicts.learn("a.test", "a", None);
        let since = Instant::now();
        while !verdicts.is_due("a.test", "a") {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        waits.push(since.elapsed());
    }
    assert!(waits[0] >= Duration::from_secs(15) && waits[0] <= Duration::from_secs(31));
    assert!(waits[9] >= Duration::from_mins(5) && waits[9] <= Duration::from_mins(11));
}

#[tokio::test(start_paused = true)]
async fn what_peers_want_is_asked_for_in_their_order_and_once() {
    let verdicts = Verdicts::new(TTL);
    let name = |repository: usize| TagName {
        registry: "a.test".to_owned(),
        repository: format!("{repository:03}"),
        tag: String::new(),
    };
    verdicts.learn("a.test", "098", Some(Verdict::Public));
    for repository in (0..100).rev() {
        verdicts.want(name(repository));
        verdicts.want(name(repository));
    }
    // What is known is not asked for, and of the others no more than have room.
    let last = 99 - super::WANTED;
    for repository in (last..100).rev().filter(|number| *number != 98) {
        assert_eq!(verdicts.wanted().await, name(repository));
    }
    let wanted = tokio::time::timeout(TTL, verdicts.wanted());
    assert!(wanted.await.is_err());
}

#[test]
fn a_repository_is_public_where_it_is_so_at_each_port() {
    let verdicts = Verdicts::new(TTL);
    verdicts.learn("reg.test", "a", Some(Verdict::Public));
    verdicts.learn("reg.test:5000", "a", Some(Verdict::Private));
    assert!(verdicts.is_public("reg.test:443", "a"));
    assert!(!verdicts.is_public("reg.test:5000", "a"));
    assert!(!verdicts.is_public("reg.test", "b"));
    assert!(!verdicts.is_public_at_each_port("reg.test", "a"));
    for port in 1..20 {
        verdicts.learn(&format!("many.test:{port}"), "a", Some(Verdict::Public));
    }
    assert!(verdicts.is_public("many.test:19", "a"));
    assert!(!verdicts.is_public("many.test:1", "a"), "forgotten");
}
