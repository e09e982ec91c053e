//! containerd's mirror files, `<config_path>/<registry>/hosts.toml`, with the agent's own block in
//! them.

pub mod after;
pub mod block;
pub mod certs;
pub mod config;
pub mod default;
pub mod entries;
pub mod former;
pub mod misplaced;
pub mod place;
pub mod reach;
pub mod release;
pub mod search;

/// Whether containerd asks the agent which digest a tag has, or only for content by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capabilities {
    /// Content by digest.
    Pull,
    /// Tags too.
    PullAndResolve,
}

impl Capabilities {
    /// What an agent is asked for that resolves tags, or does not.
    pub fn of(resolve_tags: bool) -> Self {
        if resolve_tags {
            Self::PullAndResolve
        } else {
            Self::Pull
        }
    }

    fn toml(self) -> &'static str {
        match self {
            Self::Pull => r#"["pull"]"#,
            Self::PullAndResolve => r#"["pull", "resolve"]"#,
        }
    }
}
