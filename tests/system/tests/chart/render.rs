//! Looking into what was rendered.

use anyhow::{Context as _, Result, ensure};
use saphyr::{LoadableYamlNode as _, Yaml};

/// Hands over each container, those of the start too, with the kind of what it belongs to.
pub(crate) fn each_container(
    manifest: &str,
    mut take: impl FnMut(&str, &Yaml<'_>) -> Result<()>,
) -> Result<()> {
    let documents = Yaml::load_from_str(manifest).context("parsing what was rendered")?;
    let mut number = 0;
    for document in &documents {
        let kind = text(document, &["kind"]).unwrap_or_default();
        let Some(pod) = at(document, &["spec", "template", "spec"]) else {
            continue;
        };
        for list in ["initContainers", "containers"] {
            for container in items(pod, list) {
                number += 1;
                take(kind, container).with_context(|| format!("{list} of the {kind}"))?;
            }
        }
    }
    ensure!(number > 0, "no container was rendered");
    Ok(())
}

pub(crate) fn at<'a, 'i>(node: &'a Yaml<'i>, path: &[&str]) -> Option<&'a Yaml<'i>> {
    path.iter()
        .try_fold(node, |node, key| node.as_mapping_get(key))
}

pub(crate) fn text<'a>(node: &'a Yaml<'_>, path: &[&str]) -> Option<&'a str> {
    at(node, path)?.as_str()
}

/// The texts of a list; none where there is none.
pub(crate) fn texts<'a>(node: &'a Yaml<'_>, path: &[&str]) -> Vec<&'a str> {
    let list = at(node, path).and_then(Yaml::as_sequence);
    list.into_iter()
        .flatten()
        .filter_map(Yaml::as_str)
        .collect()
}

pub(crate) fn items<'a, 'i>(node: &'a Yaml<'i>, key: &str) -> impl Iterator<Item = &'a Yaml<'i>> {
    let list = node.as_mapping_get(key);
    list.and_then(Yaml::as_sequence).into_iter().flatten()
}
