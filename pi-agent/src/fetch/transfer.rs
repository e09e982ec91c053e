//! The transfer: from the first peer whose head is accepted to the last byte that containerd takes,
//! and to its verdict.

mod begin;
mod blame;
mod cache;
mod checked;
mod count;
mod deliver;
mod ending;
mod hash;
mod open;
mod ordered;
mod pump;
mod room;
mod silence;
mod slowness;
mod small;
mod stored;
mod striped;
mod timing;
mod turn;

pub(super) use self::{
    begin::{Begun, Transfers},
    blame::Judge,
    count::{CHECKED, FIRST_BYTE, HEDGES, LISTS_REFUSED, MISFITS, RESUMED},
    open::Opener,
    small::{Smalls, fits},
    stored::Stored,
    turn::{QueuePosition, Turns},
};
pub(crate) use self::{
    cache::Small,
    deliver::{Delivery, Transfer},
};
