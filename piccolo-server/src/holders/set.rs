//! All holders of one key, in the order of their addresses.
//!
//! An image that every node has would take six bytes for each of them, and a hundred such keys more
//! than all else that the server holds. So a set is delta coded in blocks: the first holder of a block is
//! stored whole, and of each other one its distance from the one before: a byte or two, since those of
//! one rack are neighbours and have the same port. A change encodes one block anew.

mod spot;

use std::{slice, sync::Arc};

use self::spot::Spot;
use crate::{
    packed::{Family, Packed},
    store::Nearest,
};

/// Holders of one family.
#[derive(Debug, Clone)]
pub(crate) struct HolderSet {
    family: Family,
    len: usize,
    /// In their order; none is empty.
    blocks: Vec<Block>,
}

/// Some neighbours. Copies of a set share them.
#[derive(Debug, Clone)]
struct Block {
    first: Packed,
    /// From each to the next one.
    steps: Arc<[u8]>,
}

/// Goes through the holders of a block in their order.
#[derive(Debug)]
struct BlockHolders<'a> {
    first: Option<Spot>,
    /// The one before the next one.
    spot: Spot,
    steps: &'a [u8],
}

/// Goes through a set in its order.
#[derive(Debug)]
struct Ascending<'a> {
    /// Was examined, and not chosen.
    next: Option<Spot>,
    within: Option<BlockHolders<'a>>,
    blocks: slice::Iter<'a, Block>,
}

/// Walks from a place in both directions: the nearer of the two next holders comes first.
#[derive(Debug)]
pub(crate) struct NearestFirst<'a> {
    set: &'a HolderSet,
    around: Spot,
    /// The holders below that are decoded, the next one last.
    lower: Vec<Spot>,
    /// Blocks below them.
    blocks: usize,
    upper: Ascending<'a>,
}

/// What [`NearestFirst`] went through: all that lies between the two, which were not visited. Where
/// there is none, all on that side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visited {
    below: Option<Packed>,
    above: Option<Packed>,
}

/// Most holders of one block.
const BLOCK: usize = 256;

impl HolderSet {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            len: 0,
            blocks: Vec::new(),
        }
    }

    /// Builds a set of holders that are sorted already.
    pub(super) fn from_sorted(family: Family, holders: &[Packed]) -> Self {
        let mut set = Self::new(family);
        set.append(holders);
        set
    }

    /// What stands on either side of a place, when that is all there is.
    pub(super) fn from_nearest(family: Family, nearest: &Nearest) -> Self {
        let below = nearest.below.iter().rev();
        let holders: Vec<_> = below.chain(&nearest.above).copied().collect();
        Self::from_sorted(family, &holders)
    }

    /// Appends sorted holders that come after all present ones.
    pub(super) fn append(&mut self, holders: &[Packed]) {
        self.blocks.reserve_exact(holders.len().div_ceil(BLOCK));
        self.blocks
            .extend(holders.chunks(BLOCK).filter_map(Block::of));
        self.len += holders.len();
    }

    pub(super) fn insert(&mut self, holder: Packed) {
        self.change(holder, |holders| {
            let at = holders.binary_search(&holder).err()?;
            holders.insert(at, holder);
            Some(())
        });
    }

    pub(super) fn remove(&mut self, holder: Packed) {
        self.change(holder, |holders| {
            let at = holders.binary_search(&holder).ok()?;
            holders.remove(at);
            Some(())
        });
    }

    /// Changes the block that a holder belongs into; `change` gives none where there is nothing to
    /// be changed.
    fn change(&mut self, holder: Packed, change: impl FnOnce(&mut Vec<Packed>) -> Option<()>) {
        if holder.family() != self.family {
            return;
        }
        let at = self.block(holder);
        let mut holders = Vec::with_capacity(BLOCK + 1);
        holders.extend(self.decoded(at).map(|spot| spot.holder(self.family)));
        let before = holders.len();
        if change(&mut holders).is_none() {
            return;
        }
        self.len = self.len + holders.len() - before;
        let halves = holders.len().div_ceil(holders.len().div_ceil(BLOCK).max(1));
        let blocks = holders.chunks(halves.max(1)).filter_map(Block::of);
        let old = at..(at + 1).min(self.blocks.len());
        self.blocks.splice(old, blocks);
    }

    /// The block that a holder belongs into: the last one that begins before it, or the first.
    fn block(&self, holder: Packed) -> usize {
        let blocks = &self.blocks;
        let behind = blocks.partition_point(|block| block.first <= holder);
        behind.saturating_sub(1)
    }

    /// The holders of one block; none of one that is not there.
    fn decoded(&self, block: usize) -> impl Iterator<Item = Spot> {
        self.blocks.get(block).into_iter().flat_map(Block::holders)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        let steps: usize = self.blocks.iter().map(|block| block.steps.len()).sum();
        self.blocks.capacity() * (size_of::<Block>() + SHARED) + steps
    }

    /// All from that one on.
    pub(crate) fn from(&self, holder: Packed) -> impl Iterator<Item = Packed> {
        let ascending = self.ascending(self.block(holder), Spot::of(holder), |_| {});
        ascending.map(|spot| spot.holder(self.family))
    }

    /// The holders with the longest prefix in common with `around` first.
    pub(crate) fn nearest(&self, around: Packed) -> NearestFirst<'_> {
        let blocks = self.block(around);
        let around = Spot::of(around);
        let mut lower = Vec::with_capacity(BLOCK);
        NearestFirst {
            upper: self.ascending(blocks, around, |spot| lower.push(spot)),
            set: self,
            around,
            lower,
            blocks,
        }
    }

    /// From a place upwards that is within this block or before the next one; gives away what comes
    /// before it there.
    fn ascending(&self, block: usize, from: Spot, mut before: impl FnMut(Spot)) -> Ascending<'_> {
        let mut ascending = Ascending {
            next: None,
            within: None,
            blocks: self.blocks.get(block..).unwrap_or_default().iter(),
        };
        while let Some(next) = ascending.next() {
            if next >= from {
                ascending.next = Some(next);
                break;
            }
            before(next);
        }
        ascending
    }
}

/// Overhead of a shared block, in bytes: allocator and reference counts.
const SHARED: usize = 32;

impl Block {
    /// At most [`BLOCK`] holders in their order; `None` for an empty slice.
    fn of(holders: &[Packed]) -> Option<Self> {
        let (first, rest) = holders.split_first()?;
        let mut steps = Vec::with_capacity(2 * rest.len());
        let mut here = Spot::of(*first);
        for holder in rest {
            let next = Spot::of(*holder);
            here.step_to(next, &mut steps);
            here = next;
        }
        Some(Self {
            first: *first,
            steps: steps.into(),
        })
    }

    fn holders(&self) -> BlockHolders<'_> {
        let first = Spot::of(self.first);
        BlockHolders {
            first: Some(first),
            spot: first,
            steps: &self.steps,
        }
    }
}

impl Iterator for BlockHolders<'_> {
    type Item = Spot;

    fn next(&mut self) -> Option<Spot> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        self.spot = self.spot.step(&mut self.steps)?;
        Some(self.spot)
    }
}

impl Iterator for Ascending<'_> {
    type Item = Spot;

    fn next(&mut self) -> Option<Spot> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        loop {
            if let Some(next) = self.within.as_mut().and_then(Iterator::next) {
                return Some(next);
            }
            self.within = Some(self.blocks.next()?.holders());
        }
    }
}

impl Ascending<'_> {
    fn peek(&mut self) -> Option<Spot> {
        self.next = self.next();
        self.next
    }
}

impl NearestFirst<'_> {
    pub(crate) fn visited(mut self) -> Visited {
        self.look_below();
        let holder = |spot: Spot| spot.holder(self.set.family);
        Visited {
            below: self.lower.last().copied().map(holder),
            above: self.upper.peek().map(holder),
        }
    }

    /// Decodes a block more if there is none below.
    fn look_below(&mut self) {
        if self.lower.is_empty()
            && let Some(blocks) = self.blocks.checked_sub(1)
        {
            self.blocks = blocks;
            self.lower.extend(self.set.decoded(blocks));
        }
    }
}

impl Iterator for NearestFirst<'_> {
    type Item = Packed;

    fn next(&mut self) -> Option<Packed> {
        self.look_below();
        let downwards = match (self.lower.last(), self.upper.peek()) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(below), Some(above)) => {
                below.differences(self.around) < above.differences(self.around)
            }
        };
        let next = if downwards {
            self.lower.pop()
        } else {
            self.upper.next()
        };
        next.map(|spot| spot.holder(self.set.family))
    }
}

impl Visited {
    pub(crate) fn contains(self, holder: Packed) -> bool {
        self.covers(holder, holder)
    }

    /// Whether all between the two, both included, were gone through.
    pub(crate) fn covers(self, first: Packed, last: Packed) -> bool {
        self.below.is_none_or(|below| below < first) && self.above.is_none_or(|above| last < above)
    }
}

#[cfg(test)]
mod tests;
