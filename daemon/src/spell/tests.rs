//! Lines that are due, and lines that are not.

use std::{fmt::Debug, sync::Arc};

use parking_lot::Mutex;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span, warn,
};

use tokio::time::sleep;

use super::*;

/// Collects lines, as level, message and numbers.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("daemon::spell")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 = match field.name() {
            "message" => format!("{} {value:?}", self.0),
            name => format!("{} {name}={value:?}", self.0),
        };
    }
}

fn happens(spell: &Spell) {
    spell.happened(|times| warn!(times, "calls are refused"));
}

fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    (log, guard)
}

#[tokio::test(start_paused = true)]
async fn a_state_is_told_of_at_its_begin_once_a_minute_and_at_its_end() {
    let (log, _guard) = logged();
    let spell = Spell::new("calls are taken again");
    for second in 0..150 {
        for _ in 0..40 {
            happens(&spell);
        }
        if second == 0 {
            assert_eq!(log.take(), ["WARN calls are refused times=1"]);
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        log.take(),
        [
            "WARN calls are refused times=2400",
            "WARN calls are refused times=2400"
        ]
    );
    spell.is_well();
    assert!(log.take().is_empty());
    sleep(Duration::from_secs(5)).await;
    spell.is_well();
    assert_eq!(
        log.take(),
        ["INFO calls are taken again times=6000 untold=1199 seconds=149"]
    );
    spell.is_well();
    assert!(log.take().is_empty());
    // The next one begins anew.
    happens(&spell);
    assert_eq!(log.take(), ["WARN calls are refused times=1"]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_to_and_fro_is_one_state() {
    let (log, _guard) = logged();
    let spell = Spell::new("calls are taken again");
    for _ in 0..1000 {
        happens(&spell);
        spell.is_well();
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(log.take(), ["WARN calls are refused times=1"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_happened_for_a_minute_was_over() {
    let (log, _guard) = logged();
    let spell = Spell::new("calls are taken again");
    happens(&spell);
    happens(&spell);
    log.take();
    sleep(Duration::from_secs(61)).await;
    happens(&spell);
    assert_eq!(
        log.take(),
        [
            "INFO calls are taken again times=2 untold=1 seconds=0",
            "WARN calls are refused times=1"
        ]
    );
    // A single event was logged; no second line says that it is over.
    sleep(Duration::from_secs(61)).await;
    happens(&spell);
    assert_eq!(log.take(), ["WARN calls are refused times=1"]);
}
