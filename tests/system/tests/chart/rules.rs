//! Rule by rule: no text that the chart's schema lets through is refused by the program's parser.

use std::fs;

use anyhow::{Context, Result};
use clap::CommandFactory as _;
use pi_agent::config::Cli as Agent;
use piccolo_server::config::Cli as Server;
use proptest::{prelude::*, test_runner::TestRunner};
use regex::Regex;
use serde_json::Value;
use system_tests::chart::root;

/// A definition of the schema, and the command line that reads what it lets through.
const RULES: [(&str, &[&str], &str); 10] = [
    ("registry", &["pi-agent", "configure"], "--registry="),
    ("shared", &["pi-agent", "run"], "--allow="),
    ("shared", &["pi-agent", "run"], "--deny="),
    ("shared", &["pi-agent", "run"], "--private="),
    ("server", &["pi-agent", "run"], "--server="),
    ("registryURL", &["pi-agent", "run"], "--registry-url=r="),
    ("namespace", &["pi-agent", "run"], "--containerd-namespace="),
    ("group", &["pi-agent", "run"], "--group="),
    ("log", &["pi-agent", "run"], "--log="),
    ("duration", &["piccolo-server", "serve"], "--node-timeout="),
];

/// Each rule for itself, on texts made from its own pattern.
#[test]
fn the_schema_lets_nothing_through_that_the_programs_refuse() -> Result<()> {
    let schema = fs::read_to_string(root().join("deploy/chart/values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema).context("the schema")?;
    for (name, words, flag) in RULES {
        let definition = &schema["definitions"][name];
        let pattern = definition["pattern"].as_str().context("no pattern")?;
        let longest = definition["maxLength"].as_u64().unwrap_or(u64::MAX);
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        let whole = Regex::new(pattern).context("the pattern")?;
        let texts = proptest::string::string_regex(pattern.trim_matches(['^', '$']))?;
        let texts = texts.prop_filter("too long", move |text| text.len() <= longest);
        let check = |text: String| {
            prop_assert!(whole.is_match(&text), "{text:?} is none of its own");
            let line = words.iter().copied().map(str::to_owned);
            let line = line.chain([format!("{flag}{text}")]);
            let program = match words.first() {
                Some(&"pi-agent") => Agent::command(),
                _ => Server::command(),
            };
            let read = program.try_get_matches_from(line);
            prop_assert!(
                read.is_ok(),
                "{name} {text:?}: {}",
                read.err().map(|e| e.to_string()).unwrap_or_default()
            );
            Ok(())
        };
        let mut runner = TestRunner::default();
        runner
            .run(&texts, check)
            .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    }
    Ok(())
}
