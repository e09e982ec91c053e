//! What others take, written down once more and independently: the targets compare with it.

pub(crate) mod go;
pub(crate) mod head;
pub(crate) mod percent;
