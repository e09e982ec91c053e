//! A digest in half the space, for the tables that hold thousands of them.

use crate::digest::Digest;

/// The bytes of a digest; the length tells the algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Id {
    Sha256([u8; 32]),
    // Rare, so that it does not make the common one large.
    Sha512(Box<[u8; 64]>),
}

impl Id {
    /// Reads the name of a file in the content store.
    pub(crate) fn from_file_name(algorithm: &str, hex: &str) -> Option<Self> {
        if hex.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        match algorithm {
            "sha256" => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(hex, &mut bytes).ok()?;
                Some(Self::Sha256(bytes))
            }
            "sha512" => {
                let mut bytes = Box::new([0; 64]);
                hex::decode_to_slice(hex, bytes.as_mut_slice()).ok()?;
                Some(Self::Sha512(bytes))
            }
            _ => None,
        }
    }

    /// The digest that this stands for.
    pub(crate) fn digest(&self) -> Digest {
        let text = match self {
            Self::Sha256(bytes) => format!("sha256:{}", hex::encode(bytes)),
            Self::Sha512(bytes) => format!("sha512:{}", hex::encode(bytes.as_slice())),
        };
        text.parse()
            .expect("hexadecimal digits of the right length are a digest")
    }
}

impl From<&Digest> for Id {
    fn from(digest: &Digest) -> Self {
        Self::from_file_name(digest.algorithm(), digest.hex())
            .expect("a digest has a registered algorithm and lower-case hexadecimal digits")
    }
}
