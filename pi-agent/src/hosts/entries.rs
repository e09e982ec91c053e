//! The agent's entries in the files of all registries that it mirrors.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    block::Mirror,
    config::ConfigError,
    misplaced::Misplaced,
    place::{Done, HostsToml, PlaceError},
    reach::Reach,
    release::Release,
};
use crate::registry::RegistryName;

/// Which files name the agent, and how.
#[derive(Debug, Clone)]
pub struct Entries {
    /// The directory that containerd's `config_path` names.
    pub hosts_dir: PathBuf,
    /// containerd's own configuration.
    pub containerd_config: PathBuf,
    /// containerd's release, where it is known.
    pub release: Option<Release>,
    /// The registries that are mirrored.
    pub registries: Vec<RegistryName>,
    /// The host that the files name first.
    pub mirror: Mirror,
}

/// What came of one file.
#[derive(Debug)]
pub struct EntryOutcome {
    /// The file.
    pub file: PathBuf,
    /// What was done to the file, or why nothing was.
    pub result: Result<Done, PlaceError>,
}

/// The place that was asked for, and why it would not do.
struct Unfit {
    own: HostsToml,
    error: Misplaced,
}

impl Entries {
    /// Makes sure that containerd reads the files, and says how.
    ///
    /// # Errors
    /// When its configuration does not lead to them: the error says what to write where.
    pub fn check(&self) -> Result<Reach, ConfigError> {
        Reach::read(&self.containerd_config, &self.hosts_dir, self.release)
    }

    /// Makes the agent the first host of each file. One that cannot be written does not keep the
    /// others from it. An entry that has come to hide what somebody else put there is taken out.
    pub fn publish(&self) -> Vec<EntryOutcome> {
        self.each(|place| match place {
            Ok(place) => place.add(&self.mirror),
            Err(unfit) => {
                let Unfit { own, error } = *unfit;
                if matches!(error, Misplaced::Hides { .. }) && own.is_ours() {
                    own.remove()?;
                }
                Err(error.into())
            }
        })
    }

    /// What [`Entries::publish`] would do; nothing is written.
    pub fn rehearse(&self) -> Vec<EntryOutcome> {
        self.each(|place| match place {
            Ok(place) => place.rehearse(&self.mirror),
            Err(unfit) => Err(unfit.error.into()),
        })
    }

    /// Takes the agent out of each file.
    pub fn withdraw(&self) -> Vec<EntryOutcome> {
        self.each(|place| match place {
            Ok(place) => place.remove(),
            Err(unfit) => unfit.own.remove(),
        })
    }

    /// Why containerd would not ask the agent first, a sentence for each such registry.
    pub fn missing(&self) -> Vec<String> {
        let url = &self.mirror.url;
        let reach = self.check().ok();
        let missing = self.registries.iter().filter_map(|registry| {
            let place = match self.place(reach.as_ref(), registry) {
                Ok(place) => place,
                Err(unfit) => return Some(daemon::telemetry::chain(&unfit.error).to_string()),
            };
            let file = place.file();
            match place.asks_first(url) {
                Ok(true) => None,
                Ok(false) => Some(format!("{} does not name {url} first", file.display())),
                Err(error) => Some(daemon::telemetry::chain(&error).to_string()),
            }
        });
        missing.collect()
    }

    /// The directories in which something may happen to the files. A link leads to two of them.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::from([self.hosts_dir.clone()]);
        let mut take = |path: &Path| found.extend(path.parent().map(Path::to_owned));
        take(&self.hosts_dir);
        if let Ok(real) = fs::canonicalize(&self.hosts_dir) {
            take(&real);
        }
        for registry in &self.registries {
            let file = HostsToml::new(&self.hosts_dir, registry).file();
            take(&file);
            if let Ok(real) = fs::canonicalize(&file) {
                take(&real);
            }
        }
        found
    }

    fn each(
        &self,
        work: impl Fn(Result<HostsToml, Box<Unfit>>) -> Result<Done, PlaceError>,
    ) -> Vec<EntryOutcome> {
        let reach = self.check().ok();
        let one = |registry| EntryOutcome {
            file: HostsToml::new(&self.hosts_dir, registry).file(),
            result: work(self.place(reach.as_ref(), registry)),
        };
        self.registries.iter().map(one).collect()
    }

    /// The place of a registry's entry; where there is none that would do, the one that was asked for
    /// and why not. Without a way from containerd's configuration, the one that was asked for.
    fn place(
        &self,
        reach: Option<&Reach>,
        registry: &RegistryName,
    ) -> Result<HostsToml, Box<Unfit>> {
        let own = HostsToml::new(&self.hosts_dir, registry);
        match reach.map(|reach| reach.place(registry)) {
            None => Ok(own),
            Some(place) => place.map_err(|error| Box::new(Unfit { own, error })),
        }
    }
}
