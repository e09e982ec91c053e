//! Whether nodes resolve tags together.

use clap::Args;

use super::Run;

/// Who asks registries for tags.
#[derive(Debug, Clone, Args)]
pub struct Sharing {
    /// With `--resolve-tags`, has one node of the group ask the registry for a tag, and all take its
    /// answer for `--tag-ttl` seconds: the server says who asks, and keeps what it heard. What `--deny`
    /// names, or `--allow` does not, is asked for by each node. Any node of the group can then say what a
    /// tag stands for.
    #[arg(long, env = "PI_AGENT_SHARE_TAGS")]
    pub share_tags: bool,
}

/// Tags that nobody resolves are to be shared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--share-tags (PI_AGENT_SHARE_TAGS) shares what --resolve-tags (PI_AGENT_RESOLVE_TAGS) hears, and that is \
     off: switch it on as well, also where the mirror files are written, or leave both off"
)]
pub struct UnresolvedTags;

impl Run {
    /// Whether the settings of tags make sense together.
    ///
    /// # Errors
    /// When tags are to be shared that are not resolved.
    pub fn check_tags(&self) -> Result<(), UnresolvedTags> {
        if self.tags.sharing.share_tags && !self.tags.resolve_tags {
            return Err(UnresolvedTags);
        }
        Ok(())
    }
}
