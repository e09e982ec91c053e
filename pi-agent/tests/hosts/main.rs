//! Who keeps the agent's entries in containerd's mirror files, and when they are in force: real
//! agents and real files.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

mod bed;
mod doctor;
mod former;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use bed::{Bed, notify_socket, until};

const OPERATORS: &str = "server = \"https://quay.io\"\n\n[host.\"https://cache.corp\"]\n  \
                         capabilities = [\"pull\"]\n";
/// How long containerd may be led to an agent that is stopped.
const WITHDRAWN: Duration = Duration::from_secs(6);
/// How long a request may wait that reached the agent while it was stopped.
const ENDED: Duration = Duration::from_secs(12);

#[test]
fn in_force_while_the_agent_runs_and_restored_when_it_ends() {
    let bed = Bed::new();
    bed.write("quay.io", OPERATORS);
    let before = bed.tree();
    let agent = bed.agent(&["--hosts=write"]);
    until("the agent to be entered", || {
        bed.asks("_default") && bed.asks("quay.io")
    });
    until("the agent to say so", || bed.condition().starts_with("[+]"));
    assert!(
        bed.admin("/metrics")
            .contains("piccolo_agent_hosts_missing 0")
    );
    assert_eq!(agent.stop(), Some(0));
    assert_eq!(bed.tree(), before, "restored to the byte");
}

#[test]
fn a_killed_agent_leaves_its_entries_to_the_next() {
    let bed = Bed::new();
    let before = bed.tree();
    let agent = bed.agent(&["--hosts=write"]);
    until("the agent to be entered", || bed.asks("_default"));
    agent.kill();
    assert!(bed.asks("_default"), "a restart is no end");
    let agent = bed.agent(&["--hosts=write"]);
    until("the agent to say so", || bed.condition().starts_with("[+]"));
    agent.stop();
    assert_eq!(bed.tree(), before);
}

#[test]
fn what_another_tool_takes_away_is_put_back() {
    let bed = Bed::new();
    // As where certs.d is a link to another disk.
    fs::rename(bed.dir(), bed.path("real")).unwrap();
    symlink("real", bed.dir()).unwrap();
    let agent = bed.agent(&["--hosts=write"]);
    until("the agent to be entered", || bed.asks("quay.io"));

    // k3s does so at each start.
    fs::remove_dir_all(bed.path("real")).unwrap();
    fs::create_dir(bed.path("real")).unwrap();
    bed.write("quay.io", OPERATORS);
    until("the agent to be back", || {
        bed.asks("_default") && bed.asks("quay.io")
    });
    let text = fs::read_to_string(bed.file("quay.io")).unwrap();
    assert!(text.contains("cache.corp"), "{text}");

    // A tool that replaces the file, as it was before the agent came.
    fs::write(bed.path("new.toml"), OPERATORS).unwrap();
    fs::rename(bed.path("new.toml"), bed.file("quay.io")).unwrap();
    until("the agent to be back", || bed.asks("quay.io"));
    let losses = bed.admin("/metrics");
    assert!(
        losses.contains("piccolo_agent_hosts_losses_total 2"),
        "{losses}"
    );

    agent.stop();
    assert_eq!(fs::read_to_string(bed.file("quay.io")).unwrap(), OPERATORS);
    assert!(!bed.file("_default").exists());
}

#[test]
fn nothing_is_touched_where_that_is_off() {
    let bed = Bed::new();
    bed.write("quay.io", OPERATORS);
    let before = bed.tree();
    let agent = bed.agent(&[]);
    assert_eq!(bed.condition(), "", "no matter of the agent's");
    agent.stop();
    assert_eq!(bed.tree(), before);
}

#[test]
fn a_watching_agent_says_what_is_not_in_force() {
    let bed = Bed::new();
    let agent = bed.agent(&["--hosts=watch"]);
    until("the agent to miss them", || {
        bed.condition()
            .contains("_default/hosts.toml does not name")
    });
    assert!(
        bed.admin("/metrics")
            .contains("piccolo_agent_hosts_missing 2")
    );
    assert!(bed.admin("/status").contains("does not name"));
    assert!(bed.configure(&[]).status.success());
    until("the agent to see them", || {
        bed.condition().starts_with("[+]")
    });
    fs::remove_file(bed.file("quay.io")).unwrap();
    until("the agent to miss one", || {
        bed.condition().starts_with("[-]") && bed.condition().contains("quay.io")
    });
    agent.stop();
    assert!(
        bed.asks("_default"),
        "what others wrote is theirs to take out"
    );
}

#[test]
fn a_place_that_cannot_be_written_is_told_and_tried_again() {
    let bed = Bed::new();
    fs::remove_dir(bed.dir()).unwrap();
    fs::write(bed.dir(), "no directory").unwrap();
    let agent = bed.agent(&["--hosts=write"]);
    until("the agent to say so", || {
        let line = bed.condition();
        line.starts_with("[-]") && line.contains("certs.d")
    });
    fs::remove_file(bed.dir()).unwrap();
    until("the agent to be entered", || bed.asks("_default"));
    agent.stop();
}

#[test]
fn a_stranger_at_the_mirrors_address_gets_no_entries() {
    let bed = Bed::new();
    // It takes connections and says nothing, as far as containerd can see for ever.
    let stranger = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", stranger.local_addr().unwrap());
    let elsewhere = format!("--mirror-url={url}");
    let before = bed.tree();
    let output = bed.configure(&[&elsewhere]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "configure asks who answers");
    assert!(message.contains("nothing was written"), "{message}");
    assert!(message.contains("no answer within"), "{message}");
    assert_eq!(bed.tree(), before);

    let agent = bed.agent(&["--hosts=write", &elsewhere]);
    until("the agent to say so", || {
        bed.condition().contains("no answer")
    });
    assert_eq!(bed.tree(), before);
    agent.stop();
    assert!(bed.configure(&["--force", &elsewhere]).status.success());
    assert!(bed.file("_default").exists());
}

#[test]
fn a_check_writes_nothing() {
    let bed = Bed::new();
    let before = bed.tree();
    assert!(bed.configure(&["--check"]).status.success());
    fs::write(bed.path("config.toml"), "version = 2\n").unwrap();
    let output = bed.configure(&["--check"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("config_path = "));
    assert!(!output.status.success());
    assert_eq!(bed.tree(), before);
}

/// The bounds that docs/agent.md states.
#[test]
fn a_frozen_agent_is_taken_out_and_comes_back() {
    let bed = Bed::new();
    let before = bed.tree();
    let keeper = bed.keep_hosts(&[]);
    let agent = bed.agent(&["--hosts=watch"]);
    until("the agent to be entered", || bed.asks("_default"));
    agent.signal("STOP");
    let took = until("the agent to be taken out", || !bed.asks("_default"));
    assert!(took < WITHDRAWN, "{took:?}");
    agent.signal("CONT");
    until("the agent to be entered again", || bed.asks("_default"));
    until("the agent to say so", || bed.condition().starts_with("[+]"));

    // A restart of the agent alone is not the pod's end; that is when both are asked to end.
    agent.kill();
    let agent = bed.agent(&["--hosts=watch"]);
    assert!(bed.asks("_default"));
    assert_eq!(keeper.stop(), Some(0));
    assert_eq!(bed.tree(), before);
    agent.stop();
    assert_eq!(bed.tree(), before);
}

#[test]
fn nobody_waits_for_a_frozen_agent_for_long() {
    let bed = Bed::new();
    let _keeper = bed.keep_hosts(&["--end-silent-agent"]);
    let mut agent = bed.agent(&["--hosts=watch"]);
    until("the agent to be entered", || bed.asks("_default"));
    let begin = Instant::now();
    agent.signal("STOP");
    // As a pull that had read hosts.toml just before.
    let waiting = std::net::TcpStream::connect(bed.mirror()).unwrap();
    until("the agent to be ended", || agent.has_ended());
    let took = begin.elapsed();
    assert!(took < ENDED, "{took:?}");
    drop(waiting);
}

/// In a pod only a new container sees the new directory. ext4 gives it the number of the old one.
#[test]
fn who_keeps_a_directory_that_is_made_anew_ends() {
    let bed = Bed::new();
    let mut keeper = bed.keep_hosts(&[]);
    let agent = bed.agent(&["--hosts=watch"]);
    until("the agent to be entered", || bed.asks("_default"));
    fs::remove_dir_all(bed.dir()).unwrap();
    fs::create_dir(bed.dir()).unwrap();
    until("keep-hosts to end", || keeper.has_ended());
    assert_eq!(keeper.stop(), Some(1), "the kubelet is to start it again");
    let keeper = bed.keep_hosts(&[]);
    until("the agent to be entered again", || bed.asks("_default"));
    keeper.stop();
    agent.stop();
}

#[test]
fn systemd_hears_of_the_start_and_of_signs_of_life() {
    let bed = Bed::new();
    let socket = notify_socket(&bed.path("notify"));
    let name = format!("--notify-socket={}", bed.path("notify").display());
    let agent = bed.agent(&[&name, "--watchdog-usec=10000000"]);
    let mut buffer = [0; 64];
    let mut heard = || {
        let length = socket.recv(&mut buffer).unwrap_or_default();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1");
    assert_eq!(heard(), "WATCHDOG=1");
    agent.stop();
}
