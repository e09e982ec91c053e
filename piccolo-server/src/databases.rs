//! Which database serves which group.

mod open;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use piccolo_api::Group;

pub(crate) use self::open::{Opening, may_pass, store};
use crate::database::Database;

/// The databases of all groups.
#[derive(Debug)]
pub(crate) struct Databases {
    own: HashMap<Group, Arc<Database>>,
    /// Serves the groups that have no database of their own.
    others: Option<Arc<Database>>,
    /// The groups that are served; empty for all.
    served: HashSet<Group>,
}

impl Databases {
    pub(crate) fn new(
        own: HashMap<Group, Arc<Database>>,
        others: Option<Arc<Database>>,
        served: HashSet<Group>,
    ) -> Self {
        Self {
            own,
            others,
            served,
        }
    }

    /// The database of a group; `None` where the operators named the groups, or gave databases to
    /// certain groups only.
    pub(crate) fn of(&self, group: &Group) -> Option<&Arc<Database>> {
        if !self.served.is_empty() && !self.served.contains(group) {
            return None;
        }
        self.own.get(group).or(self.others.as_ref())
    }

    /// The database for data that belongs to no group: the same on each instance.
    pub(crate) fn first(&self) -> Option<&Arc<Database>> {
        let own = self.own.iter().min_by_key(|(group, _)| group.as_str());
        self.others.as_ref().or(own.map(|(_, database)| database))
    }

    /// All databases.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.own.values().chain(&self.others)
    }
}
