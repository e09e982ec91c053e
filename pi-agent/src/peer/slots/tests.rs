//! Tests of the upload slots.

use futures_util::future::join_all;

use super::*;

const PATIENCE: Duration = Duration::from_millis(500);

fn slots(size: usize, queue: usize) -> Slots {
    Slots::new(size, queue, PATIENCE, Grouping::default())
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

async fn take_all(slots: &Slots, address: IpAddr) -> Vec<Slot> {
    let mut taken = Vec::new();
    while let Ok(slot) = slots.take(address).await {
        taken.push(slot);
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn greedy_addresses_leave_slots_for_others() {
    let slots = slots(32, 1);
    let mut greedy = Vec::new();
    for (last, expected) in [(1, 24), (2, 6), (3, 1)] {
        let taken = take_all(&slots, address(last)).await;
        assert_eq!(taken.len(), expected, "{last}");
        greedy.push(taken);
    }
    let other = slots.take(address(4)).await.expect("the last slot");
    assert!(slots.take(address(5)).await.is_err(), "there were 32");
    assert_eq!(slots.count().taken, 32);
    // Who has most gives back, and gets nothing again while little is free.
    greedy[0].truncate(16);
    assert_eq!(slots.count().taken, 24);
    drop(other);
    assert_eq!(take_all(&slots, address(4)).await.len(), 6);
    drop(greedy);
    assert_eq!(slots.count().taken, 0);
    assert!(slots.0.uses.lock().addresses.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_what_is_given_back_in_its_turn() {
    let slots = slots(1, 2);
    let first = slots.take(address(1)).await.expect("a slot");
    let begin = tokio::time::Instant::now();
    let (second, third, ()) = tokio::join!(
        async {
            let slot = slots.take(address(2)).await;
            (slot.is_ok(), begin.elapsed())
        },
        async {
            let slot = slots.take(address(3)).await;
            (slot.is_ok(), begin.elapsed())
        },
        async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(first);
        }
    );
    assert_eq!(
        (second, third),
        ((true, PATIENCE / 2), (true, PATIENCE / 2))
    );
    assert_eq!(slots.count().taken, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_gave_up_takes_nothing() {
    let slots = slots(1, 1);
    let first = slots.take(address(1)).await.expect("a slot");
    assert!(slots.take(address(2)).await.is_err());
    drop(first);
    assert_eq!(slots.count().taken, 0);
    assert!(slots.take(address(3)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_shared_too() {
    let slots = slots(1, 4);
    let first = slots.take(address(9)).await.expect("a slot");
    let crowd = [1, 1, 1, 1, 1, 2, 2, 2].map(|last| slots.take(address(last)));
    let begin = tokio::time::Instant::now();
    let ended = async {
        join_all(crowd.map(async |take| (take.await.is_ok(), begin.elapsed() < PATIENCE))).await
    };
    let (ended, ()) = tokio::join!(ended, async {
        tokio::time::sleep(PATIENCE / 2).await;
        drop(first);
    });
    // Four of the first address wait, then two of them make room for the second's; each slot goes on
    // to the next in the queue.
    let has: Vec<_> = ended.iter().map(|(has, _)| *has).collect();
    assert_eq!(has, [true, true, false, false, false, true, true, false]);
    assert!(ended.iter().all(|(_, early)| *early), "all were told early");
}
