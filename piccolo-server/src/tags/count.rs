//! What is counted of tags.

use daemon::metric::Metric;
use metrics::{counter, gauge};
use piccolo_api::TagReply;

const ANSWERS: Metric = Metric::counter(
    "piccolo_server_tag_answers_total",
    &[(
        "verdict",
        "`known`, `refused` (the registry gave no digest), `ask` (the node was sent to the registry for \
         all), `wait`, `alone` (the node asks for itself)",
    )],
    "What nodes were answered that asked for a tag together with others.",
);
const TOLD: Metric = Metric::counter(
    "piccolo_server_tag_words_total",
    &[(
        "outcome",
        "`taken`, `ignored` (from a node that had not been sent to the registry, or too late)",
    )],
    "What nodes said that a registry had said of a tag.",
);
const REMEMBERED: Metric = Metric::gauge(
    "piccolo_server_tags",
    &[],
    "Tags of which it is known what their registry said, or which node asks.",
);

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[ANSWERS, TOLD, REMEMBERED];

pub(super) fn answered(reply: &TagReply) {
    let verdict = match reply {
        TagReply::Known { .. } => "known",
        TagReply::Refused => "refused",
        TagReply::Ask => "ask",
        TagReply::Wait { .. } => "wait",
        TagReply::Alone => "alone",
    };
    counter!(ANSWERS.name, "verdict" => verdict).increment(1);
}

pub(super) fn told(is_taken: bool) {
    let outcome = if is_taken { "taken" } else { "ignored" };
    counter!(TOLD.name, "outcome" => outcome).increment(1);
}

pub(super) fn remembered(tags: usize) {
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "gauges are floats"
    )]
    gauge!(REMEMBERED.name).set(tags as f64);
}
