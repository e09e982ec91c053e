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
    let (signal, log) = panicked(&mut Command::new(program), place, test);
    assert_eq!(signal, Some(SIGABRT), "{place}: {log}");
}

/// Runs `test` by `command`, which panics in `place`. Returns the signal that ended it, and its log.
#[track_caller]
fn panicked(command: &mut Command, place: &str, test: &str) -> (Option<i32>, String) {
    let ended = command
        .args(["--exact", test, "--nocapture"])
        .env(WHERE, place)
        .stdin(Stdio::null())
        .output()
        .expect("the test runs again");
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    let said = log
        .lines()
        .filter(|line| line.contains("a panic ends the process"));
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), 1, "{place}: {log}");
    assert!(
        said.iter().all(|line| line.contains("out of range")),
        "{log}"
    );
    (ended.status.signal(), log)
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
            // A process that went on after the panic must not get this far.
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

/// In a container the program is the first process of its process namespace, for which the kernel
/// ignores signals without a handler, SIGABRT too. kubelet restarts the container only if the process
/// ends all the same.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test asks whether it is the one that panics"
)]
fn a_panic_ends_the_first_process_of_a_container() {
    const NAME: &str = "a_panic_ends_the_first_process_of_a_container";
    if let Ok(place) = std::env::var(WHERE) {
        return panics_in(&place);
    }
    let mut first = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        first.args(["--user", "--map-root-user"]);
    }
    first.args(["--pid", "--fork"]);
    first.arg(std::env::current_exe().expect("a test has a program"));
    let (signal, log) = panicked(&mut first, "task", NAME);
    assert!(signal.is_some(), "it went on: {log}");
}
