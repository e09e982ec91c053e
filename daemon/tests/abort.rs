//! A panic anywhere ends the process.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use daemon::{
    abort,
    scope::Scope,
    telemetry::{self, LogFormat},
};
use tracing::Span;

/// Set for the process that is to panic, to where it does so.
const WHERE: &str = "DAEMON_TEST_PANICS_IN";
const SIGABRT: i32 = 6;

/// Runs this test again, in a process that panics in `place`, and looks at how it ends.
#[track_caller]
fn check(place: &str, test: &str) {
    let program = std::env::current_exe().expect("a test has a program");
    let ended = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env(WHERE, place)
        .stdin(Stdio::null())
        .output()
        .expect("the test runs again");
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{place}: {log}");
    let said = log
        .lines()
        .filter(|line| line.contains("a panic ends the process"));
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), 1, "{place}: {log}");
    assert!(
        said.iter().all(|line| line.contains("out of range")),
        "{log}"
    );
}

/// Does what a program does until it panics in `place`.
fn panics_in(place: &str) {
    let filter = "info".parse().expect("it is a filter");
    telemetry::init_log(LogFormat::Json, &filter).expect("nothing logs yet");
    abort::on_panic();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (scope, _deaths) = Scope::new();
        if place == "task" {
            scope.task(Span::none(), async { panic!("out of range") });
        } else {
            let look = tokio::task::spawn_blocking(|| panic!("out of range"));
            // Whoever goes on after a failed look must not get that far.
            let _: Result<(), _> = look.await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test asks whether it is the one that panics"
)]
fn a_panic_in_a_task_ends_the_process() {
    match std::env::var(WHERE) {
        Ok(place) => panics_in(&place),
        Err(_) => check("task", "a_panic_in_a_task_ends_the_process"),
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test asks whether it is the one that panics"
)]
fn a_panic_on_a_blocking_thread_ends_the_process() {
    match std::env::var(WHERE) {
        Ok(place) => panics_in(&place),
        Err(_) => check("look", "a_panic_on_a_blocking_thread_ends_the_process"),
    }
}
