//! Draining, killing, and the death of a service.

use std::time::Duration;

use daemon::{
    cycle::{self, Deadlines, End, Signals},
    scope::Scope,
};
use tokio::time::Instant;
use tracing::Span;

const DEADLINES: Deadlines = Deadlines {
    drain: Duration::from_secs(10),
};

#[tokio::test(start_paused = true)]
async fn a_service_that_dies_ends_the_process() {
    let (scope, deaths) = Scope::new();
    scope.service("short-lived", async {});
    let signals = Signals::catch().expect("handlers are allowed");
    let end = cycle::run(&scope, deaths, signals, DEADLINES, async {}).await;
    assert_eq!(end, End::Died("short-lived"));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_ends_the_process() {
    let (scope, deaths) = Scope::new();
    scope.service("clumsy", async { panic!("on purpose") });
    let signals = Signals::catch().expect("handlers are allowed");
    let end = cycle::run(&scope, deaths, signals, DEADLINES, async {}).await;
    assert_eq!(end, End::Died("clumsy"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_tasks_and_says_farewell() {
    let (scope, deaths) = Scope::new();
    let (done, finished) = tokio::sync::oneshot::channel();
    let draining = scope.clone();
    scope.task(Span::none(), async move {
        draining.draining().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _ = done.send(());
    });
    scope.service("dies", async {});
    let mut said = false;
    let signals = Signals::catch().expect("handlers are allowed");
    let farewell = async { said = true };
    cycle::run(&scope, deaths, signals, DEADLINES, farewell).await;
    assert!(said);
    finished
        .await
        .expect("the task finished within the deadline");
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_tasks_are_dropped() {
    let (scope, deaths) = Scope::new();
    scope.task(Span::none(), std::future::pending());
    scope.service("dies", async {});
    let begin = Instant::now();
    let signals = Signals::catch().expect("handlers are allowed");
    cycle::run(&scope, deaths, signals, DEADLINES, async {}).await;
    assert_eq!(begin.elapsed(), DEADLINES.drain);
    scope.finished().await;
}
