//! The port of older releases: open beside the mirror's own while a file names it, and the way back.

use std::{fs, net::TcpListener};

use crate::bed::{Bed, FORMER, until};

/// Any port that a test may take without rights.
const PORT: u16 = 1288;
const OK: &str = "HTTP/1.1 200 OK";
const OPEN: &str = "piccolo_agent_former_port_open 1";

/// A node whose files an older release wrote.
fn upgraded() -> Bed {
    let mut bed = Bed::new();
    bed.write("quay.io", super::OPERATORS);
    assert!(bed.configure(&["--force"]).status.success());
    assert!(bed.asks("_default") && bed.asks("quay.io"));
    bed.port = PORT;
    bed
}

#[test]
fn files_of_an_older_release_are_served_and_renewed() {
    let bed = upgraded();
    let agent = bed.agent(&["--hosts=write", "--former-port-seconds=1"]);
    // Also before they are renewed, or by a pull that read them before.
    assert_eq!(bed.answers(FORMER).as_deref(), Some(OK));
    assert_eq!(bed.answers(PORT).as_deref(), Some(OK));
    assert!(bed.admin("/metrics").contains(OPEN));
    until("the files to name the new port", || {
        bed.asks("_default") && bed.asks("quay.io")
    });
    let text = fs::read_to_string(bed.file("quay.io")).unwrap();
    assert!(
        !text.contains("7788") && text.contains("cache.corp"),
        "{text}"
    );
    until("the old port to be closed", || {
        bed.answers(FORMER).is_none()
    });
    assert!(!bed.admin("/metrics").contains(OPEN));
    assert_eq!(bed.answers(PORT).as_deref(), Some(OK));
    agent.stop();
    assert_eq!(
        fs::read_to_string(bed.file("quay.io")).unwrap(),
        super::OPERATORS
    );
}

#[test]
fn files_that_nobody_renews_keep_the_port_open() {
    let bed = upgraded();
    let agent = bed.agent(&["--former-port-seconds=1"]);
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(bed.answers(FORMER).as_deref(), Some(OK));
    // Until their operator does.
    assert!(bed.configure(&[]).status.success());
    until("the old port to be closed", || {
        bed.answers(FORMER).is_none()
    });
    agent.stop();
}

#[test]
fn nobody_listens_there_where_no_file_names_it_or_it_is_not_to_be() {
    let mut bed = Bed::new();
    bed.port = PORT;
    let agent = bed.agent(&["--hosts=write"]);
    until("the agent to be entered", || bed.asks("_default"));
    assert_eq!(bed.answers(FORMER), None);
    agent.stop();
    let bed = upgraded();
    let agent = bed.agent(&["--former-port-seconds=0"]);
    assert_eq!(bed.answers(FORMER), None);
    agent.stop();
}

/// As distributions do, and operators of their own.
#[test]
fn what_containerds_configuration_imports_may_name_it_as_well() {
    let mut bed = Bed::new();
    let config = fs::read_to_string(bed.path("config.toml")).unwrap();
    let imports = "imports = [\"conf.d/*.toml\"]\n";
    fs::write(bed.path("config.toml"), format!("{imports}{config}")).unwrap();
    let mirror = format!(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]\n\
         endpoint = [\"{}\"]\n",
        bed.url()
    );
    fs::create_dir(bed.path("conf.d")).unwrap();
    fs::write(bed.path("conf.d/mirrors.toml"), mirror).unwrap();
    bed.port = PORT;
    let agent = bed.agent(&["--former-port-seconds=1"]);
    assert_eq!(bed.answers(FORMER).as_deref(), Some(OK));
    fs::write(bed.path("conf.d/mirrors.toml"), "version = 2\n").unwrap();
    until("the old port to be closed", || {
        bed.answers(FORMER).is_none()
    });
    agent.stop();
}

/// Who has taken it is not served, and does not keep the agent from its own port.
#[test]
fn who_has_the_old_port_does_not_stop_an_upgrade() {
    let bed = upgraded();
    let _squatter = TcpListener::bind((bed.mirror().ip(), FORMER)).unwrap();
    let agent = bed.agent(&["--hosts=write"]);
    until("the files to name the new port", || bed.asks("_default"));
    assert_eq!(bed.answers(PORT).as_deref(), Some(OK));
    agent.stop();
}

/// An older release knows nothing of the new port, and puts its own into the same block.
#[test]
fn the_way_back_renews_the_files_as_well() {
    let mut bed = upgraded();
    let agent = bed.agent(&["--hosts=write"]);
    until("the files to name the new port", || bed.asks("_default"));
    agent.kill();
    bed.port = FORMER;
    let agent = bed.agent(&["--hosts=write"]);
    until("the files to name the old port", || {
        bed.asks("_default") && bed.asks("quay.io")
    });
    let text = fs::read_to_string(bed.file("quay.io")).unwrap();
    assert!(!text.contains(":1288"), "{text}");
    agent.stop();
    assert_eq!(
        fs::read_to_string(bed.file("quay.io")).unwrap(),
        super::OPERATORS
    );
}
