//! Tests of the places of a listener.

use tokio::time::timeout;

use super::*;

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

async fn is_evicted(place: &ConnectionPlace) -> bool {
    timeout(Duration::from_millis(1), place.evicted())
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_waited_longest_makes_room() {
    let places = Places::new(3, 0, 9);
    let mut taken = Vec::new();
    for last in 1..=3 {
        taken.push(places.take(address(last)).await.expect("a place"));
    }
    // The oldest is being answered, and waits again later than the others.
    assert!(taken[0].answers());
    taken[0].waits();
    let (new, ()) = tokio::join!(places.take(address(4)), async {
        tokio::task::yield_now().await;
        assert!(is_evicted(&taken[1]).await);
        assert!(!taken[1].answers());
        drop(taken.remove(1));
    });
    assert!(!new.expect("a place").is_spare());
    for place in &taken {
        assert!(!is_evicted(place).await);
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_are_answered_a_few_get_spare_places() {
    let places = Places::new(1, 1, 9);
    let regular = places.take(address(1)).await.expect("a place");
    assert!(regular.answers());
    let spare = places.take(address(1)).await.expect("a spare place");
    assert!(spare.is_spare());
    // The spare one waits for a request, and still nobody waits for its place.
    let since = tokio::time::Instant::now();
    assert_eq!(places.take(address(1)).await.unwrap_err(), Full::All);
    assert_eq!(since.elapsed(), Duration::ZERO);
    assert!(!is_evicted(&spare).await);
    drop(regular);
    assert!(!places.take(address(1)).await.expect("a place").is_spare());
}

#[tokio::test(start_paused = true)]
async fn where_a_request_came_at_the_same_moment_the_next_one_makes_room() {
    let places = Places::new(2, 1, 9);
    let first = places.take(address(1)).await.expect("a place");
    let second = places.take(address(1)).await.expect("a place");
    let (new, ()) = tokio::join!(places.take(address(2)), async {
        tokio::task::yield_now().await;
        assert!(!first.answers(), "it was told to go");
        second.evicted().await;
        drop(second);
    });
    assert!(!new.expect("a place").is_spare());
}

#[tokio::test(start_paused = true)]
async fn an_address_with_its_share_evicts_nobody() {
    let places = Places::new(2, 1, 1);
    let one = places.take(address(1)).await.expect("a place");
    let _other = places.take(address(2)).await.expect("a place");
    assert_eq!(places.take(address(1)).await.unwrap_err(), Full::Address);
    assert!(!is_evicted(&one).await);
}

#[tokio::test(start_paused = true)]
async fn few_addresses_leave_places_for_others() {
    let places = Places::new(1024, 0, 256);
    let mut taken = Vec::new();
    for (last, expected) in [(1, 256), (2, 256), (3, 256), (4, 128), (5, 64)] {
        let mut count = 0;
        while let Ok(place) = places.take(address(last)).await {
            assert!(place.answers());
            taken.push(place);
            count += 1;
        }
        assert_eq!(count, expected, "{last}");
    }
    assert!(places.take(address(6)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn where_all_are_idle_an_address_may_have_several() {
    let places = Places::new(8, 0, 4);
    let mut idle = Vec::new();
    for last in 1..=8 {
        idle.push(places.take(address(last)).await.expect("a place"));
    }
    for expected in 1..=3 {
        let oldest = idle.remove(0);
        let (new, ()) = tokio::join!(places.take(address(9)), async {
            oldest.evicted().await;
            drop(oldest);
        });
        let new = new.unwrap_or_else(|full| panic!("{expected}: {full:?}"));
        assert!(new.answers());
        idle.push(new);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_is_no_longer_listed() {
    let places = Places::new(2, 0, 9);
    drop(places.take(address(1)).await.expect("a place"));
    assert!(places.0.waiting.lock().connections.is_empty());
}
