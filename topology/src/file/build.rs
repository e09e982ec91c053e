//! From typed values to the topology: the tree, the names, the knobs.

use crate::file::error::Findings;
use crate::file::names::Names;
use crate::file::problem::Problem;
use crate::file::value::{Fields, Typed, Value};
use crate::file::{cidrs, links};
use crate::mix::Map;
use crate::model::Topology;
use crate::place::{Place, RackPrefix, Uplink};
use crate::ranking::{Ranking, Weights};
use crate::{RackId, Rate};

/// Deeper trees than this are a mistake, and the ranking climbs them for each rack.
const MAX_DEPTH: u32 = 16;

/// A place as the file has it, before it has its place in the tree.
struct Draft<'a> {
    fields: &'a Fields,
    name: Option<&'a Typed>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// The file's content; valid only without findings.
pub(crate) fn topology(file: &Fields, findings: &mut Findings) -> Topology {
    let defaults = file.section("defaults");
    let host_link = defaults.and_then(|defaults| defaults.rate("host_link"));
    let host_link = host_link.unwrap_or(Topology::HOST_LINK);
    let mut drafts = Vec::new();
    collect(file.list("tree"), None, &mut drafts);
    let mut names = Names::default();
    let order = arrange(&mut drafts, &mut names, findings);
    let (mut places, sources) = build(&drafts, &order, host_link, findings);
    let mut place_of = vec![None; drafts.len()];
    for (place, draft) in order.iter().enumerate() {
        if let Some(slot) = place_of.get_mut(draft.index) {
            *slot = Some(place);
        }
    }
    let find = |name: &Typed, findings: &mut Findings| {
        place_of.get(names.find(name, findings)?).copied().flatten()
    };
    let links = links::links(file.list("links"), find, &mut places, findings);
    Topology {
        table: cidrs::table(&places, &sources, findings),
        by_rack: by_rack(&places),
        places,
        links,
        ranking: ranking(file, findings),
        host_link,
        split: defaults
            .and_then(rack_prefix)
            .unwrap_or(RackPrefix::DEFAULT),
    }
}

fn collect<'a>(items: &'a [Typed], parent: Option<usize>, drafts: &mut Vec<Draft<'a>>) {
    for fields in items.iter().filter_map(Typed::section) {
        let index = drafts.len();
        drafts.push(Draft {
            fields,
            name: fields.get("name"),
            parent,
            children: Vec::new(),
        });
        collect(fields.list("children"), Some(index), drafts);
    }
}

/// A draft in the order of the tree.
struct Arranged {
    index: usize,
    /// Where its parent stands in the same order.
    parent: Option<usize>,
    depth: u32,
}

/// Parents before children. Places in a cycle are left out.
fn arrange<'a>(
    drafts: &mut [Draft<'a>],
    names: &mut Names<'a>,
    findings: &mut Findings,
) -> Vec<Arranged> {
    for (index, draft) in drafts.iter().enumerate() {
        if let Some(name) = draft.name {
            names.take(name, index, findings);
        }
    }
    for draft in &mut *drafts {
        let Some(parent) = draft.fields.get("parent") else {
            continue;
        };
        if draft.parent.is_some() {
            findings.add(parent.at, &parent.text, Problem::ParentTwice);
        } else {
            draft.parent = names.find(parent, findings);
        }
    }
    for index in 0..drafts.len() {
        let parent = drafts.get(index).and_then(|draft| draft.parent);
        if let Some(parent) = parent.and_then(|parent| drafts.get_mut(parent)) {
            parent.children.push(index);
        }
    }
    let roots = drafts
        .iter()
        .enumerate()
        .filter(|(_, draft)| draft.parent.is_none());
    let mut stack: Vec<_> = roots
        .rev()
        .map(|(index, _)| Arranged {
            index,
            parent: None,
            depth: 1,
        })
        .collect();
    let mut order = Vec::new();
    while let Some(next) = stack.pop() {
        let place = order.len();
        if let Some(draft) = drafts.get(next.index) {
            let depth = next.depth + 1;
            let below = draft.children.iter().rev();
            stack.extend(below.map(|index| Arranged {
                index: *index,
                parent: Some(place),
                depth,
            }));
        }
        order.push(next);
    }
    if order.len() < drafts.len() {
        report_cycles(drafts, &order, findings);
    }
    order
}

fn report_cycles(drafts: &[Draft<'_>], order: &[Arranged], findings: &mut Findings) {
    let mut settled = vec![false; drafts.len()];
    for Arranged { index, .. } in order {
        if let Some(settled) = settled.get_mut(*index) {
            *settled = true;
        }
    }
    for start in 0..drafts.len() {
        let mut way = Vec::new();
        let mut next = Some(start);
        while let Some(index) = next
            && settled.get(index) == Some(&false)
        {
            if let Some(settled) = settled.get_mut(index) {
                *settled = true;
            }
            way.push(index);
            next = drafts.get(index).and_then(|draft| draft.parent);
        }
        let Some(turn) = way.iter().position(|index| Some(*index) == next) else {
            continue;
        };
        let cycle = way.get(turn..).unwrap_or_default();
        let name = |index: &usize| drafts.get(*index)?.name?.as_text();
        let mut names: Vec<_> = cycle.iter().filter_map(name).collect();
        names.extend(names.first().copied());
        let parent = |index: &usize| drafts.get(*index)?.fields.get("parent");
        if let Some(parent) = cycle.iter().find_map(parent) {
            let way = names.join(" in ");
            findings.add(parent.at, &parent.text, Problem::Cycle { way });
        }
    }
}

/// The places, each with its fields of the file.
fn build<'a>(
    drafts: &[Draft<'a>],
    order: &[Arranged],
    host_link: Rate,
    findings: &mut Findings,
) -> (Vec<Place>, Vec<&'a Fields>) {
    let mut places: Vec<Place> = Vec::with_capacity(order.len());
    let mut sources = Vec::with_capacity(order.len());
    for arranged in order {
        let Some(draft) = drafts.get(arranged.index) else {
            continue;
        };
        let fields = draft.fields;
        let name = draft
            .name
            .and_then(Typed::as_text)
            .unwrap_or_default()
            .to_owned();
        if arranged.depth == MAX_DEPTH + 1 {
            findings.add(fields.at, &name, Problem::TreeTooDeep(MAX_DEPTH));
        }
        if draft.children.is_empty() && fields.lacks("cidrs") && fields.lacks("children") {
            findings.add(fields.at, &name, Problem::EmptyPlace);
        }
        let parent = arranged.parent.and_then(|parent| places.get(parent));
        let inherited = parent.map_or(host_link, |parent| parent.host_link);
        places.push(Place {
            rack: RackId::from_name(&name),
            name,
            kind: fields.text("kind").map(str::to_owned),
            parent: arranged.parent,
            depth: arranged.depth,
            cidrs: fields
                .list("cidrs")
                .iter()
                .filter_map(Typed::cidr)
                .collect(),
            uplink: uplink(fields),
            host_link: fields.rate("host_link").unwrap_or(inherited),
            split: rack_prefix(fields),
            linked: false,
        });
        sources.push(fields);
    }
    (places, sources)
}

fn uplink(place: &Fields) -> Option<Uplink> {
    match &place.get("uplink")?.value {
        Value::Rate(rate) => Some(Uplink {
            up: *rate,
            down: *rate,
        }),
        Value::Section(ways) => Some(Uplink {
            up: ways.rate("up")?,
            down: ways.rate("down")?,
        }),
        _ => None,
    }
}

fn rack_prefix(fields: &Fields) -> Option<RackPrefix> {
    let given = fields.section("rack_prefix")?;
    let RackPrefix { ipv4, ipv6 } = RackPrefix::DEFAULT;
    Some(RackPrefix {
        ipv4: given.bits("ipv4").unwrap_or(ipv4),
        ipv6: given.bits("ipv6").unwrap_or(ipv6),
    })
}

fn by_rack(places: &[Place]) -> Map<RackId, usize> {
    places
        .iter()
        .enumerate()
        .map(|(index, place)| (place.rack, index))
        .collect()
}

fn ranking(file: &Fields, findings: &mut Findings) -> Ranking {
    let default = Ranking::DEFAULT;
    let Some(given) = file.section("ranking") else {
        return default;
    };
    let number = |key, default| given.number(key).unwrap_or(default);
    let weights = given.section("weights");
    let weight = |key, default| {
        weights
            .and_then(|given| given.number(key))
            .unwrap_or(default)
    };
    let ranking = Ranking {
        weights: Weights {
            prefix: weight("prefix", default.weights.prefix),
            tree: weight("tree", default.weights.tree),
            bandwidth: weight("bandwidth", default.weights.bandwidth),
            load: weight("load", default.weights.load),
        },
        tier_width: number("tier_width", default.tier_width),
        remote_share: number("remote_share", default.remote_share),
        probe_share: number("probe_share", default.probe_share),
        slowest: given.rate("slowest").unwrap_or(default.slowest),
        fastest: given.rate("fastest").unwrap_or(default.fastest),
        half_life: given.duration("half_life").unwrap_or(default.half_life),
        load_half_life: given
            .duration("load_half_life")
            .unwrap_or(default.load_half_life),
        prior_weight: number("prior_weight", default.prior_weight),
        smallest_sample: given
            .size("smallest_sample")
            .unwrap_or(default.smallest_sample),
    };
    if ranking.slowest >= ranking.fastest
        && let Some(wrong) = given.get("slowest").or_else(|| given.get("fastest"))
    {
        findings.add(wrong.at, &wrong.text, Problem::ScaleUpsideDown);
    }
    ranking
}
