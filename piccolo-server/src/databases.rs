//! Which database serves which group.

mod open;

use std::{collections::HashMap, sync::Arc};

use piccolo_api::Group;

pub(crate) use self::open::{Opening, is_away, store};
use crate::realm::Realm;

/// The realms of all groups.
#[derive(Debug)]
pub(crate) struct Databases {
    own: HashMap<Group, Arc<Realm>>,
    /// Serves the groups that have no database of their own.
    others: Option<Arc<Realm>>,
}

impl Databases {
    pub(crate) fn new(own: HashMap<Group, Arc<Realm>>, others: Option<Arc<Realm>>) -> Self {
        Self { own, others }
    }

    /// The realm of a group; none where the operators gave databases to certain groups only.
    pub(crate) fn realm(&self, group: &Group) -> Option<&Arc<Realm>> {
        self.own.get(group).or(self.others.as_ref())
    }

    /// The one that keeps what is not of any group: the same on each instance.
    pub(crate) fn first(&self) -> Option<&Arc<Realm>> {
        let own = self.own.iter().min_by_key(|(group, _)| group.as_str());
        self.others.as_ref().or(own.map(|(_, realm)| realm))
    }

    /// All realms.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Realm>> {
        self.own.values().chain(&self.others)
    }
}
