//! The transfer: from the first peer whose head is accepted to the last byte that containerd takes,
//! and to its verdict.

pub(crate) mod ahead;
pub(crate) mod begin;
pub(crate) mod blame;
pub(crate) mod deliver;
pub(crate) mod hash;
pub(crate) mod open;
pub(crate) mod parts;
pub(crate) mod pump;
pub(crate) mod small;
pub(crate) mod timing;
pub(crate) mod turn;
