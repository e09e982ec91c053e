//! A Prometheus that scrapes the bed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{Bed, Host, Process, get};

use crate::queries::RULES;

const START: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9090";

/// One that runs on a host of the bed's core.
pub(crate) struct Prometheus {
    host: Host,
    _process: Process,
}

impl Prometheus {
    /// Starts it over all agents and the server, with our rules.
    pub(crate) fn start(bed: &mut Bed) -> Result<Self> {
        let host = bed.network().add_core_host("prometheus", None)?;
        let directory = bed.run().make_directory("prometheus")?;
        let config = directory.join("prometheus.json");
        fs::write(&config, settings(bed)?.to_string()).context("writing Prometheus' settings")?;
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address={ADDRESS}"),
        ];
        let program = Path::new("prometheus");
        let mut process = Process::start(bed.run(), &host.netns, "prometheus", program, arguments)?;
        let netns = host.netns.clone();
        process.wait_ready(START, || {
            Ok(get(&netns, address()?, "/-/ready")?.status == 200)
        })?;
        Ok(Self {
            host,
            _process: process,
        })
    }

    /// Whether a query gives at least one sample.
    pub(crate) fn has_data(&self, query: &str) -> Result<bool> {
        let answer = self.ask(&format!("/api/v1/query?query={}", escaped(query)))?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        Ok(!result.context("an answer without a result")?.is_empty())
    }

    /// That all rules were loaded and could be evaluated.
    pub(crate) fn rules_are_healthy(&self) -> Result<()> {
        let answer = self.ask("/api/v1/rules")?;
        let groups = answer.pointer("/data/groups").and_then(Value::as_array);
        let groups = groups.context("an answer without groups")?;
        let rules = groups
            .iter()
            .filter_map(|group| group.get("rules").and_then(Value::as_array))
            .flatten();
        let mut count = 0;
        for rule in rules {
            assert_eq!(rule.get("health"), Some(&json!("ok")), "{rule:#}");
            count += 1;
        }
        assert!(count > 0, "no rules are in force");
        Ok(())
    }

    fn ask(&self, target: &str) -> Result<Value> {
        let answer = get(&self.host.netns, address()?, target)?;
        ensure!(answer.status == 200, "{target}: {}", answer.text());
        serde_json::from_slice(&answer.body).context("parsing Prometheus' answer")
    }
}

fn address() -> Result<SocketAddr> {
    ADDRESS.parse().context("an address")
}

/// JSON is YAML as well.
fn settings(bed: &Bed) -> Result<Value> {
    let agents = bed.nodes.iter().map(|node| (node.host.address, 7786));
    let agents: Vec<_> = agents
        .map(|(address, port)| SocketAddr::new(address, port).to_string())
        .collect();
    let server = bed.server_url();
    let server = server
        .strip_prefix("http://")
        .and_then(|address| address.parse::<SocketAddr>().ok())
        .context("the server's address")?;
    let server = SocketAddr::new(server.ip(), 7790).to_string();
    Ok(json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(RULES)],
        "scrape_configs": [
            {"job_name": "piccolo-agent", "static_configs": [{"targets": agents}]},
            {"job_name": "piccolo-server", "static_configs": [{"targets": [server]}]},
        ],
    }))
}

/// As a URL wants it: every byte but letters and digits as its number.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
