//! Links that the file declares between two places.

use std::collections::BTreeMap;

use crate::file::cidrs::is_above;
use crate::file::error::Findings;
use crate::file::problem::Problem;
use crate::file::value::{Fields, Typed};
use crate::mix::Map;
use crate::path::DirectLink;
use crate::place::Place;

/// The links by their ends, from and to; the places that have any are marked.
pub(crate) fn links(
    items: &[Typed],
    mut find: impl FnMut(&Typed, &mut Findings) -> Option<usize>,
    places: &mut [Place],
    findings: &mut Findings,
) -> Map<(usize, usize), DirectLink> {
    let mut links = Map::default();
    let mut lines: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for fields in items.iter().filter_map(Typed::section) {
        let both = fields.list("between");
        let ends = match both {
            [a, b] => (a, b),
            _ => match (fields.get("from"), fields.get("to")) {
                (Some(from), Some(to)) => (from, to),
                _ => continue,
            },
        };
        let says = ["bandwidth", "cost", "forbidden"];
        if !says.iter().any(|key| fields.has(key)) {
            findings.add(fields.at, &ends.0.text, Problem::LinkSaysNothing);
        }
        let (Some(from), Some(to)) = (find(ends.0, findings), find(ends.1, findings)) else {
            continue;
        };
        if let Some(problem) = impossible(places, from, to) {
            findings.add(ends.1.at, &ends.1.text, problem);
            continue;
        }
        let back = (!both.is_empty()).then_some((to, from));
        for pair in [Some((from, to)), back].into_iter().flatten() {
            if let Some(first) = lines.get(&pair) {
                findings.add(
                    fields.at,
                    &ends.0.text,
                    Problem::LinkTwice { first: *first },
                );
                continue;
            }
            lines.insert(pair, fields.at.line);
            links.insert(pair, link(fields));
            if let Some(place) = places.get_mut(pair.0) {
                place.linked = true;
            }
        }
    }
    links
}

fn link(fields: &Fields) -> DirectLink {
    DirectLink {
        bandwidth: fields.rate("bandwidth"),
        cost: fields.number("cost").unwrap_or(1.0),
        forbidden: fields.flag("forbidden").unwrap_or(false),
    }
}

fn impossible(places: &[Place], from: usize, to: usize) -> Option<Problem> {
    let name = |index: usize| {
        places
            .get(index)
            .map(|place| place.name.clone())
            .unwrap_or_default()
    };
    if from == to {
        Some(Problem::LinkToSelf)
    } else if is_above(places, from, to) {
        Some(Problem::LinkNested {
            outer: name(from),
            inner: name(to),
        })
    } else if is_above(places, to, from) {
        Some(Problem::LinkNested {
            outer: name(to),
            inner: name(from),
        })
    } else {
        None
    }
}
