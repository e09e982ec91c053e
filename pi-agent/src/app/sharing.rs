//! What is shared, by the settings, who says what tags stand for, and what registries give to anybody.

use std::time::Duration;

use daemon::scope::Scope;

use crate::{
    config::Run,
    content::TagSharing,
    discovery::Discovery,
    hosts::{after::HostFiles, release::Release},
    jitter::Jitter,
    policy::{Policy, Private, Verdicts},
    reach::Reach,
    status::TagsStatus,
    tags::{self, Openness, OpennessSettings, Tags},
};

/// What is shared, and who is asked about it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    verdicts: Option<Verdicts>,
    files: HostFiles,
}

impl Shared {
    /// As the settings say, for a containerd of that release.
    pub(super) fn new(settings: &Run, release: Option<Release>) -> Self {
        let tags = &settings.tags;
        let private = &tags.sharing.private;
        let patterns = private.iter().filter_map(|private| match private {
            Private::Auto => None,
            Private::Pattern(pattern) => Some(pattern.clone()),
        });
        let policy = Policy::new(tags.allow.clone(), tags.deny.clone());
        let policy = policy.with_private(patterns.collect());
        let ttl = Duration::from_secs(tags.sharing.private_ttl);
        let verdicts = private.contains(&Private::Auto).then(|| Verdicts::new(ttl));
        Self {
            policy: match &verdicts {
                Some(verdicts) => policy.with_verdicts(verdicts.clone()),
                None => policy,
            },
            verdicts,
            files: HostFiles {
                hosts_dir: settings.hosts.hosts_dir.clone(),
                containerd_config: settings.hosts.containerd_config.clone(),
                release,
                mirror_url: settings.hosts.mirror_url.clone(),
            },
        }
    }

    /// What resolves tags, where the agent does.
    pub(super) fn resolver(
        &self,
        settings: &Run,
        discovery: &Discovery,
        reach: &Reach,
    ) -> Option<Tags> {
        let policy = &self.policy;
        settings.tags.resolve_tags.then(|| {
            Tags::new(tags::Settings {
                ttl: Duration::from_secs(settings.tags.tag_ttl),
                files: self.files.clone(),
                registries: settings.tags.registry_url.clone(),
                authorities: settings.tags.registry_ca.clone(),
                policy: policy.clone(),
                discovery: discovery.clone(),
                reach: reach.clone(),
                shared: settings.tags.sharing.share_tags.then(|| policy.clone()),
            })
        })
    }

    /// What asks registries whether they give a repository to anybody, where that decides.
    pub(super) fn openness(&self, settings: &Run) -> Option<Openness> {
        let verdicts = self.verdicts.clone()?;
        Some(Openness::new(OpennessSettings {
            files: self.files.clone(),
            registries: settings.tags.registry_url.clone(),
            authorities: settings.tags.registry_ca.clone(),
            verdicts,
        }))
    }
}

/// Asks registries about what peers want, where their word decides.
pub(super) fn watch(openness: Option<&Openness>, jitter: &Jitter, scope: &Scope) {
    if let Some(openness) = openness.cloned() {
        let watch = openness.watch(jitter.clone(), scope.clone());
        scope.service("openness", watch);
    }
}

/// Whether tags are offered besides digests.
pub(super) fn of_tags(settings: &Run) -> TagSharing {
    if settings.tags.resolve_tags {
        TagSharing::On
    } else {
        TagSharing::Off
    }
}

/// What the agent does about tags, and whose manifests it leaves to registries.
pub(super) fn tags_status(settings: &Run) -> TagsStatus {
    let private = settings.tags.sharing.private.iter();
    TagsStatus {
        resolved: settings.tags.resolve_tags,
        shared: settings.tags.sharing.share_tags,
        private: private.map(ToString::to_string).collect(),
    }
}
