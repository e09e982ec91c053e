//! containerd's release and its way to pull, as far as they decide which mirror files it reads.

use std::str::FromStr;

/// A containerd release: `1.6.20~ds1`, `v2.1.4-k3s1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The text names no release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a release is written like 1.7.24")]
pub struct ReleaseError;

/// Which part of containerd pulls for the kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPath {
    /// The CRI plugin itself.
    Local,
    /// The transfer service.
    Transfer,
}

impl Release {
    /// The first that pulls by the transfer service unless it is told otherwise.
    pub const TRANSFER: Self = Self::new(2, 1, 0);
    /// The first whose `config_path` is set where the configuration does not set it.
    pub const PRESET: Self = Self::new(2, 2, 0);
    /// The first that knows `_default`.
    pub const DEFAULT: Self = Self::new(1, 6, 17);
    /// The first whose images have a plugin of their own in the configuration.
    pub const IMAGES_PLUGIN: Self = Self::new(2, 0, 0);

    /// The release of these numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }
}

impl FromStr for Release {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let text = text.strip_prefix('v').unwrap_or(text);
        // What follows the last number is the packager's.
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit());
            let (number, rest) = part.split_at(digits.unwrap_or(part.len()));
            Some((number.parse::<u32>().ok()?, rest))
        });
        let mut next = || numbers.next().flatten().ok_or(ReleaseError);
        let (Ok((major, "")), Ok((minor, rest))) = (next(), next()) else {
            return Err(ReleaseError);
        };
        let patch = match rest {
            "" => next().map_or(0, |(patch, _)| patch),
            _ => 0,
        };
        Ok(Self::new(major, minor, patch))
    }
}

#[cfg(test)]
mod tests {
    use super::Release;

    fn check(text: &str, expected: Option<(u32, u32, u32)>) {
        let expected = expected.map(|(major, minor, patch)| Release::new(major, minor, patch));
        assert_eq!(text.parse().ok(), expected, "{text}");
    }

    #[test]
    fn packagers_add_to_it() {
        check("1.6.20~ds1", Some((1, 6, 20)));
        check("v2.1.4-k3s1", Some((2, 1, 4)));
        check("2.1.9+ds1", Some((2, 1, 9)));
        check("2.2.0-beta.1", Some((2, 2, 0)));
        check("2.3", Some((2, 3, 0)));
        check("2.3-rc.1", Some((2, 3, 0)));
        check("", None);
        check("main", None);
        check("2", None);
        check("2x.1.0", None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,20}") {
            let _ = text.parse::<Release>();
        }
    }
}
