//! Which addresses belong to which place: every prefix once, and only below what holds it.

use ipnetwork::IpNetwork;

use crate::file::error::{At, Findings};
use crate::file::problem::Problem;
use crate::file::value::{Fields, Typed};
use crate::place::Place;
use crate::table::{PrefixTable, holds};

/// A prefix, and the place that claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    ip: std::net::IpAddr,
    bits: u8,
    at: At,
    place: usize,
    cidr: IpNetwork,
}

pub(crate) fn table(places: &[Place], sources: &[&Fields], findings: &mut Findings) -> PrefixTable {
    let mut claims = Vec::new();
    for (place, fields) in sources.iter().enumerate() {
        let split = places.get(place).and_then(|place| place.split);
        for typed in fields.list("cidrs") {
            let Some(cidr) = typed.cidr() else { continue };
            claims.push(Claim {
                ip: cidr.ip(),
                bits: cidr.prefix(),
                at: typed.at,
                place,
                cidr,
            });
            let Some(split) = split else { continue };
            let bits = if cidr.is_ipv4() {
                split.ipv4
            } else {
                split.ipv6
            };
            if cidr.prefix() > bits {
                let problem = Problem::RackPrefixTooShort { cidr, bits };
                let wrong = fields
                    .get("rack_prefix")
                    .map_or(typed.at, |typed: &Typed| typed.at);
                findings.add(wrong, "rack_prefix", problem);
            }
        }
    }
    // A prefix follows those that hold it, and an equal one that stands before it in the text.
    claims.sort_unstable();
    let mut open: Vec<Claim> = Vec::new();
    let mut sound = Vec::new();
    for claim in claims {
        while open
            .last()
            .is_some_and(|outer| !holds(outer.cidr, claim.cidr))
        {
            open.pop();
        }
        if let Some(outer) = open.last()
            && let Some(problem) = conflict(places, *outer, claim)
        {
            findings.add(claim.at, &claim.cidr.to_string(), problem);
            continue;
        }
        open.push(claim);
        sound.push((claim.cidr, claim.place));
    }
    PrefixTable::new(sound)
}

fn conflict(places: &[Place], outer: Claim, inner: Claim) -> Option<Problem> {
    let place = places
        .get(outer.place)
        .map(|place| place.name.clone())
        .unwrap_or_default();
    let line = outer.at.line;
    if outer.cidr == inner.cidr {
        Some(Problem::CidrTwice { place, line })
    } else if outer.place == inner.place {
        Some(Problem::CidrInsideOwn {
            outer: outer.cidr,
            line,
        })
    } else if is_above(places, outer.place, inner.place) {
        None
    } else {
        Some(Problem::CidrOfStranger {
            outer: outer.cidr,
            place,
            line,
        })
    }
}

/// Whether one place holds the other.
pub(crate) fn is_above(places: &[Place], above: usize, below: usize) -> bool {
    let parent = |index: &usize| places.get(*index)?.parent;
    std::iter::successors(parent(&below), parent).any(|index| index == above)
}
