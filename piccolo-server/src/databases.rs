//! Which database serves which group.

mod open;

use std::{collections::HashMap, sync::Arc};

use piccolo_api::Group;

pub(crate) use self::open::{Opening, may_pass, store};
use crate::database::Database;

/// The databases of all groups.
#[derive(Debug)]
pub(crate) struct Databases {
    own: HashMap<Group, Arc<Database>>,
    /// Serves the groups that have no database of their own.
    others: Option<Arc<Database>>,
}

impl Databases {
    pub(crate) fn new(own: HashMap<Group, Arc<Database>>, others: Option<Arc<Database>>) -> Self {
        Self { own, others }
    }

    /// The database of a group; `None` where the operators gave databases to certain groups only.
    pub(crate) fn of(&self, group: &Group) -> Option<&Arc<Database>> {
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
