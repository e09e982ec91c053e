//! Prometheus' own judgement of the rules, of their unit tests and of the dashboard's queries, and
//! that every metric named there is one that the programs have.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::tools;

const RULES: &str = "deploy/chart/files/rules.yaml";
const DASHBOARD: &str = "deploy/chart/files/dashboard.json";
const REFERENCE: &str = "docs/metrics.md";

/// What Prometheus adds to a histogram's name.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Checks the rules and runs their tests.
pub(super) fn check(root: &Path) -> Result<()> {
    named_metrics_exist(root)?;
    let promtool = |directory: &str| {
        let mut promtool = Command::new("promtool");
        promtool.current_dir(root.join(directory));
        promtool
    };
    tools::run(promtool("").args(["check", "rules", RULES]))?;
    tools::run(promtool("deploy/prometheus").args(["test", "rules", "rules.test.yaml"]))?;
    tools::run(promtool("").args(["check", "rules"]).arg(queries(root)?))
        .context("the dashboard's queries")?;
    Ok(())
}

/// Every metric that the rules or the dashboard name is in the reference.
fn named_metrics_exist(root: &Path) -> Result<()> {
    let read =
        |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"));
    let known = names(&read(REFERENCE)?);
    for file in [RULES, DASHBOARD] {
        let unknown: Vec<_> = names(&read(file)?)
            .into_iter()
            .filter(|name| !is_known(name, &known))
            .collect();
        ensure!(
            unknown.is_empty(),
            "{file} names what {REFERENCE} does not have: {}",
            unknown.join(", ")
        );
    }
    Ok(())
}

fn is_known(name: &str, known: &BTreeSet<String>) -> bool {
    let plain = OF_HISTOGRAMS
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix));
    known.contains(name) || plain.is_some_and(|plain| known.contains(plain))
}

/// The names of metrics in a text: whole words that begin as all of ours do.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| {
            ["piccolo_agent_", "piccolo_server_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .map(str::to_owned)
        .collect()
}

/// The dashboard's queries as a file of rules, with Grafana's variables filled in.
fn queries(root: &Path) -> Result<std::path::PathBuf> {
    let text = fs::read_to_string(root.join(DASHBOARD)).context("reading the dashboard")?;
    let dashboard: Value = serde_json::from_str(&text).context("parsing the dashboard")?;
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    ensure!(!found.is_empty(), "the dashboard has no queries");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, query) in found.iter().enumerate() {
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$__range", "6h");
        writeln!(
            rules,
            "      - record: query:{number}\n        expr: {}",
            Value::String(query)
        )?;
    }
    let file = super::scratch(root)?.join("dashboard.yaml");
    fs::write(&file, rules).context("writing the dashboard's queries")?;
    Ok(file)
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{is_known, named_metrics_exist, names};
    use crate::workspace;

    #[test]
    fn rules_and_dashboard_name_only_what_there_is() -> anyhow::Result<()> {
        named_metrics_exist(&workspace::root()?)
    }

    #[test]
    fn a_metric_is_known_with_what_a_histogram_adds() {
        let known = names("| `piccolo_agent_find_seconds` | histogram |");
        assert!(is_known("piccolo_agent_find_seconds", &known));
        assert!(is_known("piccolo_agent_find_seconds_bucket", &known));
        assert!(!is_known("piccolo_agent_find", &known));
    }

    #[test]
    fn names_are_whole_words() {
        let found = names("rate(piccolo_agent_blobs{a=\"b\"}[5m]) / piccolo:hit_ratio:rate5m");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["piccolo_agent_blobs"]
        );
    }
}
