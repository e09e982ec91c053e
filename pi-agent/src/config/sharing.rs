//! What nodes do together about tags, and what they leave to registries.

use clap::Args;

use super::Run;
use crate::policy::Private;

/// Who asks registries for tags, and for whose manifests.
#[derive(Debug, Clone, Args)]
pub struct Sharing {
    /// With `--resolve-tags`, has one node of the group ask the registry for a tag, and all take its
    /// answer for `--tag-ttl` seconds: the server says who asks, and keeps what it heard. What `--deny`
    /// names, or `--allow` does not, is asked for by each node. Any node of the group can then say what a
    /// tag stands for.
    #[arg(long, env = "PI_AGENT_SHARE_TAGS")]
    pub share_tags: bool,
    /// Leaves the manifests and tags of these registries or repositories to the registry, which asks each
    /// puller for its own credentials (`registry`, `registry/repository`, `*` for any characters). Their
    /// layers come from peers, and are given to peers under the names of repositories that have them. `auto`,
    /// alone or besides others: all repositories of which the registry gives a manifest to nobody without
    /// credentials, or does not answer. Set it on all nodes of the group.
    #[arg(
        long,
        env = "PI_AGENT_PRIVATE",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub private: Vec<Private>,
    /// With `--private auto`, seconds after which the registry is asked again for a manifest of a repository
    /// that it gives to anybody, when containerd or a peer wants one. After twice as many without such an answer
    /// it counts as private.
    #[arg(
        long,
        env = "PI_AGENT_PRIVATE_TTL",
        value_name = "SECONDS",
        default_value_t = 3600
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400 * 30))]
    pub private_ttl: u64,
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
