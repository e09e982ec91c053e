//! What is shared, by the settings, and who says what tags stand for.

use std::time::Duration;

use crate::{
    config::Run,
    discovery::Discovery,
    hosts::{after::HostFiles, release::Release},
    policy::Policy,
    reach::Reach,
    status::TagsStatus,
    tags::{self, Tags},
};

/// Which repositories are shared, and which of them are private.
pub(super) fn policy(settings: &Run) -> Policy {
    let tags = &settings.tags;
    Policy::new(tags.allow.clone(), tags.deny.clone()).with_private(tags.sharing.private.clone())
}

/// What resolves tags, where the agent does.
pub(super) fn resolver(
    settings: &Run,
    release: Option<Release>,
    discovery: &Discovery,
    reach: &Reach,
    policy: &Policy,
) -> Option<Tags> {
    settings.tags.resolve_tags.then(|| {
        Tags::new(tags::Settings {
            ttl: Duration::from_secs(settings.tags.tag_ttl),
            files: HostFiles {
                hosts_dir: settings.hosts.hosts_dir.clone(),
                containerd_config: settings.hosts.containerd_config.clone(),
                release,
                mirror_url: settings.hosts.mirror_url.clone(),
            },
            registries: settings.tags.registry_url.clone(),
            authorities: settings.tags.registry_ca.clone(),
            policy: policy.clone(),
            discovery: discovery.clone(),
            reach: reach.clone(),
            shared: settings.tags.sharing.share_tags.then(|| policy.clone()),
        })
    })
}

/// What the agent does about tags, and whose manifests it leaves to registries.
pub(super) fn tags_status(settings: &Run) -> TagsStatus {
    let patterns = settings.tags.sharing.private.iter();
    TagsStatus {
        resolved: settings.tags.resolve_tags,
        shared: settings.tags.sharing.share_tags,
        private: patterns.map(ToString::to_string).collect(),
    }
}
