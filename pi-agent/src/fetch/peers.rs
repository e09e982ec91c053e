//! Whom to ask: who has an object, and who is not asked for a while.

pub(crate) mod candidates;
pub(crate) mod finder;
pub(crate) mod health;
pub(crate) mod hints;
pub(crate) mod named;
