//! The chart, without what an older Kubernetes cannot take.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use testbed::{KubeVersion, Run};

/// A field that is newer than the oldest Kubernetes that the bed runs.
struct Field {
    /// The first that knows it, 1.`since`.
    since: u32,
    inside: &'static str,
    name: &'static str,
    what: &'static str,
}

const FIELDS: [Field; 2] = [
    Field {
        since: 30,
        inside: "preStop",
        name: "sleep",
        what: "the server's pause before its end (a preStop hook that sleeps: 1.30)",
    },
    Field {
        since: 21,
        inside: "livenessProbe",
        name: "terminationGracePeriodSeconds",
        what: "the liveness probe's own grace (1.21, in force from 1.25): the pod's stands in",
    },
];

/// API versions that an older one has under another name.
const RENAMED: [(u32, &str, &str); 1] = [(21, "policy/v1", "policy/v1beta1")];

/// What has kinds of its own, which an old API server built with a newer Go cannot take.
const CUSTOM: [&str; 2] = ["monitoring-monitors.yaml", "monitoring-rules.yaml"];

/// The chart as this Kubernetes takes it, in the run's directory.
#[derive(Debug)]
pub(super) struct Chart {
    directory: PathBuf,
    dropped: Vec<String>,
}

impl Chart {
    /// Copies the chart and drops what the Kubernetes does not know.
    pub(super) fn fit(chart: &Path, run: &Run, version: &KubeVersion) -> Result<Self> {
        let mut fitted = Self {
            directory: run.make_directory("chart")?,
            dropped: Vec::new(),
        };
        fitted.copy(chart, Path::new(""), version)?;
        fitted.dropped.sort();
        fitted.dropped.dedup();
        Ok(fitted)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it does without, in words.
    pub(super) fn dropped(&self) -> &[String] {
        &self.dropped
    }

    fn copy(&mut self, chart: &Path, place: &Path, version: &KubeVersion) -> Result<()> {
        let from = chart.join(place);
        fs::create_dir_all(self.directory.join(place)).context("copying the chart")?;
        for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
            let place = place.join(entry.context("reading the chart")?.file_name());
            let from = chart.join(&place);
            if !version.takes_custom_objects() && CUSTOM.iter().any(|file| place.ends_with(file)) {
                let what = "monitors and rules (its API server was built with a Go that is too new for \
                            it, and ends when it is given custom objects)";
                self.dropped.push(what.to_owned());
                continue;
            }
            if from.is_dir() {
                self.copy(chart, &place, version)?;
                continue;
            }
            let text =
                fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
            let text = self.fit_text(&text, version);
            fs::write(self.directory.join(&place), text).context("copying the chart")?;
        }
        Ok(())
    }

    fn fit_text(&mut self, text: &str, version: &KubeVersion) -> String {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        for field in FIELDS
            .iter()
            .filter(|field| !version.is_at_least(field.since))
        {
            while drop_field(&mut lines, field.inside, field.name) {
                self.dropped.push(field.what.to_owned());
            }
        }
        for line in &mut lines {
            if let Some(asked) = line.strip_prefix("kubeVersion: ")
                && !version.is_at_least(30)
            {
                self.dropped.push(format!("its demand for {asked}"));
                "kubeVersion: \">=1.20.0-0\"".clone_into(line);
            }
            for (since, name, older) in RENAMED {
                if *line == format!("apiVersion: {name}") && !version.is_at_least(since) {
                    self.dropped.push(format!("{name} (1.{since}): as {older}"));
                    *line = format!("apiVersion: {older}");
                }
            }
        }
        lines.join("\n") + "\n"
    }
}

/// Drops a field that stands inside another, and whatever holds nothing without it.
fn drop_field(lines: &mut Vec<String>, inside: &str, name: &str) -> bool {
    let found = (0..lines.len()).find(|&at| {
        is_key(&lines[at], name)
            && parent(lines, at).is_some_and(|above| is_key(&lines[above], inside))
    });
    let Some(at) = found else { return false };
    let mut above = parent(lines, at);
    lines.drain(at..end_of(lines, at));
    while let Some(at) = above.filter(|&at| is_empty(lines, at)) {
        above = parent(lines, at);
        lines.drain(at..end_of(lines, at));
    }
    true
}

fn is_key(line: &str, name: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ");
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with(':'))
}

/// How far a line stands in; none for one that says nothing to Kubernetes.
fn depth(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let says_nothing = text.is_empty() || text.starts_with('#') || text.starts_with("{{");
    (!says_nothing).then(|| line.len() - text.len())
}

/// The field that a line stands in.
fn parent(lines: &[String], at: usize) -> Option<usize> {
    let own = depth(&lines[at])?;
    (0..at)
        .rev()
        .find(|&above| depth(&lines[above]).is_some_and(|depth| depth < own))
}

/// Where what stands in a line's field ends. Conditions of the template that end a block with it
/// are not part of it.
fn end_of(lines: &[String], at: usize) -> usize {
    let own = depth(&lines[at]).unwrap_or_default();
    let mut end = at + 1;
    for (line, text) in lines.iter().enumerate().skip(at + 1) {
        match depth(text) {
            Some(depth) if depth > own => end = line + 1,
            Some(_) => break,
            None => {}
        }
    }
    end
}

/// Whether a field that holds others holds none any more.
fn is_empty(lines: &[String], at: usize) -> bool {
    lines[at].trim_end().ends_with(':') && {
        let own = depth(&lines[at]).unwrap_or_default();
        let next = lines.iter().skip(at + 1).find_map(|line| depth(line));
        next.is_none_or(|depth| depth <= own)
    }
}

#[cfg(test)]
mod tests {
    use super::drop_field;

    #[test]
    fn a_field_goes_with_what_holds_nothing_without_it() {
        let text = "containers:\n  - name: server\n    lifecycle:\n      preStop:\n        # Why.\n        sleep: {seconds: 5}\n    livenessProbe:\n      periodSeconds: 2\n      terminationGracePeriodSeconds: 3";
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert!(drop_field(&mut lines, "preStop", "sleep"));
        assert!(!drop_field(&mut lines, "preStop", "sleep"));
        let probe = "livenessProbe";
        assert!(drop_field(
            &mut lines,
            probe,
            "terminationGracePeriodSeconds"
        ));
        let left = "containers:\n  - name: server\n        # Why.\n    livenessProbe:\n      periodSeconds: 2";
        assert_eq!(lines.join("\n"), left);
    }
}
