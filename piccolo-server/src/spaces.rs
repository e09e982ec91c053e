//! The spaces of each group, in memory.

use std::collections::HashMap;

use parking_lot::RwLock;
use piccolo_api::Group;

use crate::{
    packed::Family,
    store::{SpaceId, SpaceRow, Store, StoreError},
};

/// The most groups that a server keeps. Any caller can name a new one, and groups are never
/// removed.
const MAX_GROUPS: usize = 4096;

/// Numbers of the groups and families that are known.
#[derive(Debug, Default)]
pub(crate) struct Spaces(RwLock<HashMap<Group, ByFamily>>);

/// A group's space for each family that it has nodes of.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ByFamily {
    v4: Option<SpaceId>,
    v6: Option<SpaceId>,
}

impl Spaces {
    pub(crate) fn add(&self, rows: Vec<SpaceRow>) {
        let mut spaces = self.0.write();
        for row in rows {
            *spaces.entry(row.group).or_default().slot(row.family) = Some(row.id);
        }
    }

    fn is_full_for(&self, group: &Group) -> bool {
        let spaces = self.0.read();
        spaces.len() >= MAX_GROUPS && !spaces.contains_key(group)
    }

    pub(crate) fn get(&self, group: &Group) -> ByFamily {
        let spaces = self.0.read();
        spaces.get(group).copied().unwrap_or_default()
    }

    /// The number of a group and family; the store gives one where it is new.
    pub(crate) async fn intern(
        &self,
        store: &dyn Store,
        group: &Group,
        family: Family,
    ) -> Result<SpaceId, StoreError> {
        if let Some(id) = self.get(group).of(family) {
            return Ok(id);
        }
        if self.is_full_for(group) {
            return Err(StoreError::TooManySpaces);
        }
        let id = store.intern(group, family).await?;
        self.add(vec![SpaceRow {
            id,
            group: group.clone(),
            family,
        }]);
        Ok(id)
    }
}

impl ByFamily {
    pub(crate) fn of(self, family: Family) -> Option<SpaceId> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    fn slot(&mut self, family: Family) -> &mut Option<SpaceId> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}
