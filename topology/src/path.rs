//! The path from one rack to another: its capacity, cost and distance.

use serde::Serialize;

use crate::Rate;
use crate::mix::Map;
use crate::place::{Place, Spot};

/// The path from one rack to another according to the file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Link {
    /// What a transfer can reach at most: the narrowest link on the way, the hosts' own included.
    pub prior: Rate,
    /// The narrower of the two hosts' own links.
    pub host: Rate,
    /// The factor by which the path counts as slower than it is.
    pub cost: f64,
    /// The file forbids fetching over this path.
    pub forbidden: bool,
    /// Steps up and down the tree; 0 in the same rack.
    pub steps: u32,
    /// The share of the tree that both have in common: 1 in the same rack, 0 with nothing above
    /// both.
    pub closeness: f64,
}

/// A link that the file declares between two places, in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DirectLink {
    /// Replaces the uplinks of both places and of those between them.
    pub(crate) bandwidth: Option<Rate>,
    pub(crate) cost: f64,
    pub(crate) forbidden: bool,
}

/// The tree and the links across it, by which ways are found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways<'a> {
    /// Parents before their children.
    pub(crate) places: &'a [Place],
    /// By the indexes of the two places, from and to.
    pub(crate) links: &'a Map<(usize, usize), DirectLink>,
    /// The link of a host that is in no place.
    pub(crate) host_link: Rate,
}

/// The places at which the way leaves the tree on each side.
#[derive(Debug, Clone, Copy)]
struct Turn {
    from: Option<usize>,
    to: Option<usize>,
}

impl<'a> Ways<'a> {
    pub(crate) fn between(self, from: Spot, to: Spot) -> Link {
        let host = self.host_link(from).min(self.host_link(to));
        let common = self.common(from.place, to.place);
        let shared = self.depth(common);
        let (from_depth, to_depth) = (self.spot_depth(from), self.spot_depth(to));
        let same = from.rack == to.rack;
        let link = self.direct(from.place, to.place, common);
        let turn = match link {
            Some((
                turn,
                DirectLink {
                    bandwidth: Some(_), ..
                },
            )) => turn,
            _ => Turn {
                from: common,
                to: common,
            },
        };
        let mut prior = host;
        for place in self.climb(from.place, turn.from) {
            prior = prior.min(place.uplink.map_or(prior, |uplink| uplink.up));
        }
        for place in self.climb(to.place, turn.to) {
            prior = prior.min(place.uplink.map_or(prior, |uplink| uplink.down));
        }
        let link = link.map(|(_, link)| link);
        let longest = f64::from(from_depth.max(to_depth).max(1));
        Link {
            prior: prior.min(link.and_then(|link| link.bandwidth).unwrap_or(prior)),
            host,
            cost: link.map_or(1.0, |link| link.cost),
            forbidden: link.is_some_and(|link| link.forbidden),
            steps: if same {
                0
            } else {
                from_depth + to_depth - 2 * shared
            },
            closeness: if same {
                1.0
            } else {
                f64::from(shared) / longest
            },
        }
    }

    fn host_link(self, spot: Spot) -> Rate {
        self.get(spot.place)
            .map_or(self.host_link, |place| place.host_link)
    }

    /// How deep a rack is: one below its place where its addresses' prefix stands for it.
    fn spot_depth(self, spot: Spot) -> u32 {
        self.depth(spot.place) + u32::from(spot.rack.guessed_prefix().is_some())
    }

    fn depth(self, place: Option<usize>) -> u32 {
        self.get(place).map_or(0, |place| place.depth)
    }

    fn get(self, place: Option<usize>) -> Option<&'a Place> {
        self.places.get(place?)
    }

    fn parent(self, place: Option<usize>) -> Option<usize> {
        self.get(place)?.parent
    }

    /// The deepest place that both are or are in.
    fn common(self, mut a: Option<usize>, mut b: Option<usize>) -> Option<usize> {
        while a != b {
            if self.depth(a) >= self.depth(b) {
                a = self.parent(a);
            } else {
                b = self.parent(b);
            }
        }
        a
    }

    /// The places from `below` up to just before `top`.
    fn climb(self, below: Option<usize>, top: Option<usize>) -> impl Iterator<Item = &'a Place> {
        let mut next = below;
        std::iter::from_fn(move || {
            if next == top {
                return None;
            }
            let place = self.get(next)?;
            next = place.parent;
            Some(place)
        })
    }

    /// The declared link between the deepest two places on the way, and where the way takes it.
    fn direct(
        self,
        from: Option<usize>,
        to: Option<usize>,
        common: Option<usize>,
    ) -> Option<(Turn, DirectLink)> {
        if self.links.is_empty() {
            return None;
        }
        let mut best: Option<(u32, Turn, DirectLink)> = None;
        let mut out = from;
        while out != common {
            let place = self.get(out)?;
            let mut into = to;
            while place.linked && into != common {
                if let (Some(a), Some(b)) = (out, into)
                    && let Some(link) = self.links.get(&(a, b))
                {
                    let depth = self.depth(out) + self.depth(into);
                    if best.is_none_or(|(deepest, ..)| depth > deepest) {
                        // The two places' own uplinks are not used.
                        best = Some((
                            depth,
                            Turn {
                                from: out,
                                to: into,
                            },
                            *link,
                        ));
                    }
                }
                into = self.parent(into);
            }
            out = place.parent;
        }
        best.map(|(_, turn, link)| (turn, link))
    }
}
