//! What the doctor says of an agent that runs, by the place where it runs.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::Value;

use crate::bed::{Bed, until};

fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    let mut all = checks.as_array().unwrap().iter();
    let found = all.find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:#}"))
}

/// A server that refuses whatever it is told of a node, as one with `--bind-holder` does.
fn refusing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // One call for each connection.
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let body = "{\"error\":\"holder is not an address of the caller, 10.88.0.1\"}";
            let length = body.len();
            let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n";
            let reply =
                format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    url
}

#[test]
fn a_server_that_refuses_this_node_is_called_that() {
    let bed = Bed::new();
    let server = format!("--server={}", refusing_server());
    let _agent = bed.agent(&[&server]);
    until("the refusal", || bed.admin("/status").contains("10.88.0.1"));
    let checks = bed.doctor(&[&server]);
    let announced = check(&checks, "announced");
    assert_eq!(announced["verdict"], "bad", "{announced:#}");
    assert!(announced["found"].as_str().unwrap().contains("10.88.0.1"));
    let remedy = announced["remedy"].as_str().unwrap();
    assert!(remedy.contains("--bind-holder"), "{remedy}");
    assert!(!remedy.contains("within seconds"), "{remedy}");
}

#[test]
fn who_asked_for_no_ebpf_is_not_told_to_get_it() {
    let bed = Bed::new();
    let warnings = |checks: &Value| {
        let words = ["control group", "capabilit", "Linux", "CAP_", "accounting"];
        let all = checks.as_array().unwrap().iter();
        let of_ebpf = all.filter(|check| {
            let name = check["name"].as_str().unwrap();
            words.iter().any(|word| name.contains(word))
        });
        of_ebpf.filter(|check| check["verdict"] != "good").count()
    };
    // Whether an agent runs or not.
    let checks = bed.doctor(&["--accounting=tcp-info"]);
    assert_eq!(warnings(&checks), 0, "{checks:#}");
    let _agent = bed.agent(&[]);
    let checks = bed.doctor(&["--accounting=auto"]);
    assert_eq!(warnings(&checks), 0, "{checks:#}");
    assert_eq!(check(&checks, "accounting")["verdict"], "good");
}

#[test]
fn advice_in_a_pod_is_what_lasts_there() {
    let bed = Bed::new();
    bed.write("quay.io", "[host.\"https://cache.corp\"]\n");
    std::fs::write(bed.path("config.toml"), "version = 2\n").unwrap();
    let agent = bed.agent(&["--hosts=watch"]);
    until("a look", || bed.condition().contains("config_path"));
    let chart = bed.doctor(&["--managed-by=chart"]);
    for check in chart.as_array().unwrap() {
        let remedy = check["remedy"].as_str().unwrap();
        for flag in [
            " --content",
            " --hosts",
            " --containerd",
            "pi-agent configure",
        ] {
            assert!(!remedy.contains(flag), "{check:#}");
        }
    }
    let quay = check(&chart, "hosts.toml of quay.io");
    assert!(
        quay["remedy"]
            .as_str()
            .unwrap()
            .contains("agent.hosts.registries")
    );
    assert!(check(&chart, "mirror entries")["verdict"] == "bad");
    let host = bed.doctor(&[]);
    let quay = check(&host, "hosts.toml of quay.io");
    assert!(
        quay["remedy"]
            .as_str()
            .unwrap()
            .contains("pi-agent configure")
    );
    agent.stop();
}
