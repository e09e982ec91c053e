//! Small bodies that are much in memory.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use piccolo_api::path;

use crate::{process::Process, raw::exchange};

/// Callers at the same time.
const CALLERS: usize = 16;
/// What their calls may take beside their bodies, in KiB.
const MOST: u64 = 64 << 10;
/// The longest body of a call that brings keys.
const LONGEST: usize = 4 << 20;

/// The largest resident memory of a process so far, in KiB.
fn peak(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.expect("a peak").trim().parse().expect("a number")
}

/// A body of `length` bytes with as many of `member` in a list as fit.
fn body(head: &str, member: &str, length: usize) -> String {
    let mut body = head.to_owned();
    while body.len() + member.len() + 3 < length {
        body.push_str(member);
        body.push(',');
    }
    body.push_str(member);
    body.push_str("]}");
    body
}

/// Where each goes, what is before the list, its member, and how long the body is.
fn calls() -> Vec<(&'static str, String, &'static str, usize)> {
    let node = r#""host":"10.0.0.1:1","Group":"g""#;
    let advertise = r#""holder":"10.0.0.1:1","group":"g""#;
    let small = 250 << 10;
    vec![
        (
            path::KEEPALIVE,
            format!("{{{node},\"observations\":["),
            "0",
            small,
        ),
        (
            path::KEEPALIVE,
            format!("{{{node},\"failures\":["),
            "{}",
            small,
        ),
        (
            path::KEEPALIVE,
            format!("{{{node},\"unknown\":["),
            "[]",
            small,
        ),
        (
            path::ADVERTISE,
            format!("{{{advertise},\"keys\":["),
            "\"\"",
            LONGEST,
        ),
        (
            path::SYNC,
            format!("{{{advertise},\"keys\":["),
            "\"a\"",
            LONGEST,
        ),
        (
            path::ADVERTISE,
            format!("{{{advertise},\"keys\":[],\"removed\":["),
            "\"\"",
            LONGEST,
        ),
        (
            path::ADVERTISE,
            format!("{{{advertise},\"keys\":[],\"observations\":["),
            "0",
            LONGEST,
        ),
        (
            path::FIND,
            "{\"group\":\"g\",\"keys\":[".to_owned(),
            "\"\"",
            LONGEST,
        ),
        (
            path::FIND,
            "{\"group\":\"g\",\"keys\":[],\"fetches\":[".to_owned(),
            "{}",
            LONGEST,
        ),
        (
            path::PROGRESS,
            format!("{{{advertise},\"fetches\":["),
            "{\"key\":\"\",\"bytes\":0}",
            LONGEST,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_short_as_text_is_not_long_in_memory() {
    let scratch = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", scratch.path().join("db").display());
    let server = Process::start(&["--database", &database]);
    for (to, head, member, length) in calls() {
        let body = body(&head, member, length);
        let bytes = u64::try_from(CALLERS * body.len()).expect("a number") >> 10;
        let before = peak(&server);
        let request = format!(
            "POST {to} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let callers = (0..CALLERS).map(|_| exchange(server.api, &request));
        let replies = tokio::time::timeout(Duration::from_mins(1), join_all(callers)).await;
        let replies = replies.expect("answers");
        assert!(
            replies.iter().all(|reply| reply.starts_with("HTTP/1.1 ")),
            "{to} {head}"
        );
        // The kernel counts pages of several threads late.
        let grown = peak(&server).saturating_sub(before);
        assert!(
            grown < bytes + MOST,
            "{to} {head}{member}: {grown} KiB for {bytes} KiB"
        );
    }
}
