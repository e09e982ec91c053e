//! Which database serves which group.

use std::{collections::HashMap, sync::Arc};

use piccolo_api::Group;

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
}
