//! The holders of keys that were asked for lately, in memory.

mod cache;
mod entry;
mod length;
mod set;
mod table;

use daemon::metric::Metric;

pub(crate) use self::{
    cache::{Held, Lists, Size},
    set::{List, Passed},
};

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[cache::CACHE];
