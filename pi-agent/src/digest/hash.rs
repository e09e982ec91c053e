//! Whether bytes have a digest.

use sha2::{Digest as _, Sha256, Sha512};

use super::Digest;

/// Hashes bytes as they pass.
#[derive(Debug)]
pub(crate) struct DigestHasher {
    state: Running,
    expected: Digest,
}

#[derive(Debug)]
enum Running {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl DigestHasher {
    pub(crate) fn new(expected: &Digest) -> Self {
        let state = match expected.algorithm() {
            "sha512" => Running::Sha512(Box::default()),
            _ => Running::Sha256(Sha256::new()),
        };
        Self {
            state,
            expected: expected.clone(),
        }
    }

    /// The next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            Running::Sha256(state) => state.update(bytes),
            Running::Sha512(state) => state.update(bytes),
        }
    }

    /// Whether the bytes that passed are those of the digest.
    pub(crate) fn matches(self) -> bool {
        let hex = match self.state {
            Running::Sha256(state) => hex::encode(state.finalize()),
            Running::Sha512(state) => hex::encode(state.finalize()),
        };
        hex == self.expected.hex()
    }
}
