//! The spaces of each group, in memory.

use std::collections::{HashMap, HashSet};

use parking_lot::RwLock;
use piccolo_api::Group;

use crate::{
    packed::Family,
    store::{SpaceId, SpaceRow, Store, StoreError},
};

/// The most groups that a server keeps: any caller can name a new one.
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

    /// The numbers that are known.
    pub(crate) fn known(&self) -> HashSet<SpaceId> {
        let spaces = self.0.read();
        spaces.values().flat_map(|slots| slots.each()).collect()
    }

    /// What the store has now; forgets those of the numbers `before`, known before it was asked, that it
    /// has no more.
    pub(crate) fn replace(&self, before: &HashSet<SpaceId>, rows: Vec<SpaceRow>) {
        let stored: HashSet<(&Group, SpaceId)> =
            rows.iter().map(|row| (&row.group, row.id)).collect();
        self.0.write().retain(|group, slots| {
            for slot in [&mut slots.v4, &mut slots.v6] {
                let is_gone =
                    |id: &mut SpaceId| before.contains(id) && !stored.contains(&(group, *id));
                slot.take_if(is_gone);
            }
            slots.each().next().is_some()
        });
        self.add(rows);
    }

    fn is_full_for(&self, group: &Group) -> bool {
        let spaces = self.0.read();
        spaces.len() >= MAX_GROUPS && !spaces.contains_key(group)
    }

    pub(crate) fn get(&self, group: &Group) -> ByFamily {
        let spaces = self.0.read();
        spaces.get(group).copied().unwrap_or_default()
    }

    /// The number of a group and family that is there.
    pub(crate) async fn find(
        &self,
        store: &dyn Store,
        group: &Group,
        family: Family,
    ) -> Result<Option<SpaceId>, StoreError> {
        if let Some(id) = self.get(group).of(family) {
            return Ok(Some(id));
        }
        // Another instance may have made it a moment ago.
        let found = store.space(group, family).await?;
        if let Some(id) = found {
            self.add(vec![SpaceRow {
                id,
                group: group.clone(),
                family,
            }]);
        }
        Ok(found)
    }

    /// The store's number of a group and family; it gives one at `now` where they are new.
    pub(crate) async fn intern(
        &self,
        store: &dyn Store,
        group: &Group,
        family: Family,
        now: i64,
    ) -> Result<SpaceId, StoreError> {
        if self.is_full_for(group) {
            return Err(StoreError::TooManySpaces);
        }
        let id = store.intern(group, family, now).await?;
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

    fn each(self) -> impl Iterator<Item = SpaceId> {
        [self.v4, self.v6].into_iter().flatten()
    }

    fn slot(&mut self, family: Family) -> &mut Option<SpaceId> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}
