//! Single flight: one caller at a time loads a key, and the others wait for its result.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Gate = Arc<tokio::sync::Mutex<()>>;

/// Lets one caller at a time through. It takes memory only while somebody is in it: there is one for
/// each cached key.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<Option<Gate>>);

/// The right to load. Dropping it lets the next caller through.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    flight: &'a SingleFlight,
    gate: Option<OwnedMutexGuard<()>>,
}

impl SingleFlight {
    /// Waits until no other caller has the permit.
    pub(super) async fn acquire(&self) -> Permit<'_> {
        // Made before the wait: a caller that gives up while it waits cleans up, too.
        let mut permit = Permit {
            flight: self,
            gate: None,
        };
        let gate = Arc::clone(self.0.lock().get_or_insert_default());
        permit.gate = Some(gate.lock_owned().await);
        permit
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        drop(self.gate.take());
        let mut gate = self.flight.0.lock();
        // Waiting callers have references of their own.
        if gate
            .as_ref()
            .is_some_and(|gate| Arc::strong_count(gate) == 1)
        {
            *gate = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_gate_is_gone_when_nobody_is_in_it() {
        let flight = SingleFlight::default();
        let first = flight.acquire().await;
        let mut second = Box::pin(flight.acquire());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert!(flight.0.lock().is_none());

        let first = flight.acquire().await;
        let mut gave_up = Box::pin(flight.acquire());
        assert!(futures_util::poll!(&mut gave_up).is_pending());
        drop(first);
        drop(gave_up);
        assert!(flight.0.lock().is_none());
    }
}
