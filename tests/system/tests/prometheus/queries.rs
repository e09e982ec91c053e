//! The queries of the dashboard and of the rules.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::Value;

pub(crate) const RULES: &str = "deploy/chart/files/rules.yaml";
/// Metrics that a bed without TLS, and without a signer, has not.
const OF_CERTIFICATES: [&str; 3] = [
    "piccolo_signer_",
    "piccolo_tls_issues_total",
    "piccolo_tls_reloads_total",
];
const DASHBOARD: &str = "deploy/chart/files/dashboard.json";

/// Those of the dashboard, with Grafana's variables filled in.
pub(crate) fn dashboard() -> Result<Vec<String>> {
    let dashboard: Value =
        serde_json::from_str(&read(DASHBOARD)?).context("parsing the dashboard")?;
    let panels = dashboard.get("panels").and_then(Value::as_array);
    let targets = panels
        .context("the dashboard has no panels")?
        .iter()
        .filter_map(|panel| panel.get("targets").and_then(Value::as_array))
        .flatten();
    targets
        .map(|target| {
            let query = target.get("expr").and_then(Value::as_str);
            let query = query.with_context(|| format!("a target without a query: {target}"))?;
            let filled = query.replace("$__rate_interval", "1m");
            Ok(filled.replace("$__range", "5m"))
        })
        .collect()
}

/// Those of the rules. A healthy cluster raises no alert, so each comparison is asked for its
/// outcome: then there is data exactly if there is some on both of its sides. What was days ago is
/// taken for what is. What is only counted once a certificate is issued or exchanged is left out.
pub(crate) fn rules() -> Result<Vec<String>> {
    let text = read(RULES)?;
    let documents = Yaml::load_from_str(&text).context("parsing the rules")?;
    let groups = documents
        .first()
        .and_then(|document| document.as_mapping_get("groups"))
        .and_then(Yaml::as_sequence)
        .context("no groups of rules")?;
    let rules = groups
        .iter()
        .filter_map(|group| group.as_mapping_get("rules").and_then(Yaml::as_sequence))
        .flatten();
    let mut queries = Vec::new();
    for rule in rules {
        let query = rule.as_mapping_get("expr").and_then(Yaml::as_str);
        let query = query.context("a rule without a query")?;
        if !OF_CERTIFICATES.iter().any(|name| query.contains(name)) {
            queries.push(outcome_of(query));
        }
        queries.extend(
            rule.as_mapping_get("record")
                .and_then(Yaml::as_str)
                .map(str::to_owned),
        );
    }
    Ok(queries)
}

fn outcome_of(query: &str) -> String {
    let query = query.replace(" offset 2d", "");
    [" == ", " > ", " < "]
        .iter()
        .fold(query, |query, comparison| {
            query.replace(comparison, &format!("{comparison}bool "))
        })
}

fn read(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
