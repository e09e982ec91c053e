//! The inventory: what is reached from images and present may be shared.
