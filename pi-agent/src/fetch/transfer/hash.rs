//! Hashes an object's bytes as they pass.

use crate::datapath::Tap;
pub(crate) use crate::digest::DigestHasher as Hasher;

impl Tap for Hasher {
    fn look(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}
