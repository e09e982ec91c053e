//! The store over any engine: each call is a function of one of the modules beside this one.

use piccolo_api::Group;

use crate::{
    key_hash::KeyHash,
    packed::{Family, Packed, Stretch},
    patience::Since,
    store::{
        Audited, BandwidthRow, Change, ChangeOutcome, Connections, Evicted, InstanceRow, Nearest,
        NodeKey, NodeRow, Reply, Seen, SpaceId, SpaceRow, Stamp, Store, StoreError, Taken, Writer,
        audit, bandwidth, batch, engine::Engine, evict, holdings, instances, lease, nodes, schema,
        spaces,
    },
};

/// The statements over an engine.
#[derive(Debug)]
pub(crate) struct SqlStore<E> {
    engine: E,
}

impl<E: Engine> SqlStore<E> {
    pub(crate) fn new(engine: E) -> Self {
        Self { engine }
    }
}

impl<E: Engine> Store for SqlStore<E> {
    fn migrate(&self) -> Reply<'_, ()> {
        Box::pin(async { self.engine.migrate().await.map_err(StoreError::migrate) })
    }

    fn lanes(&self) -> usize {
        E::LANES
    }

    fn lags(&self) -> bool {
        self.engine.lags()
    }

    fn connections(&self) -> Connections {
        self.engine.connections()
    }

    fn check_schema(&self) -> Reply<'_, ()> {
        Box::pin(schema::check(&self.engine))
    }

    fn spaces(&self) -> Reply<'_, Vec<SpaceRow>> {
        Box::pin(spaces::all(&self.engine))
    }

    fn space<'a>(&'a self, group: &'a Group, family: Family) -> Reply<'a, Option<SpaceId>> {
        Box::pin(spaces::find(&self.engine, group, family))
    }

    fn intern<'a>(&'a self, group: &'a Group, family: Family, now: i64) -> Reply<'a, SpaceId> {
        Box::pin(spaces::intern(&self.engine, group, family, now))
    }

    fn empty_spaces(&self) -> Reply<'_, Vec<SpaceId>> {
        Box::pin(spaces::empty(&self.engine))
    }

    fn mark_gone<'a>(&'a self, spaces: &'a [SpaceId], now: i64) -> Reply<'a, ()> {
        Box::pin(spaces::mark_gone(&self.engine, spaces, now))
    }

    fn nearest(&self, space: SpaceId, key: KeyHash, around: Packed, k: u32) -> Reply<'_, Nearest> {
        Box::pin(holdings::nearest(&self.engine, space, key, around, k))
    }

    fn holders(
        &self,
        space: (SpaceId, Family),
        key: KeyHash,
        after: Option<Packed>,
        limit: u32,
    ) -> Reply<'_, Vec<Packed>> {
        Box::pin(holdings::page(&self.engine, space, key, after, limit))
    }

    fn within<'a>(
        &'a self,
        space: SpaceId,
        key: KeyHash,
        stretches: &'a [Stretch],
        each: u32,
    ) -> Reply<'a, Vec<Packed>> {
        Box::pin(holdings::within(&self.engine, space, key, stretches, each))
    }

    fn nodes(&self) -> Reply<'_, Vec<NodeRow>> {
        Box::pin(nodes::all(&self.engine))
    }

    fn nodes_of_others(&self, since: i64, writer: Writer) -> Reply<'_, Vec<NodeRow>> {
        Box::pin(nodes::of_others(&self.engine, since, writer))
    }

    fn node(&self, node: NodeKey) -> Reply<'_, Option<NodeRow>> {
        Box::pin(nodes::one(&self.engine, node))
    }

    fn touch<'a>(&'a self, seen: &'a [Seen], stamp: Stamp) -> Reply<'a, ()> {
        Box::pin(nodes::touch(&self.engine, seen, stamp))
    }

    fn rewind(&self, latest: i64, to: i64, stamp: Stamp) -> Reply<'_, u64> {
        Box::pin(nodes::rewind(&self.engine, latest, to, stamp))
    }

    fn write<'a>(&'a self, changes: &'a [Change], taken: Taken) -> Reply<'a, Vec<ChangeOutcome>> {
        Box::pin(batch::write(&self.engine, changes, taken))
    }

    fn share_bandwidth<'a>(&'a self, learned: &'a [BandwidthRow], stamp: Stamp) -> Reply<'a, ()> {
        Box::pin(bandwidth::share(&self.engine, learned, stamp))
    }

    fn bandwidth_of_others(&self, writer: Writer) -> Reply<'_, Vec<(BandwidthRow, i64)>> {
        Box::pin(bandwidth::of_others(&self.engine, writer))
    }

    fn forget_bandwidth(&self, before: i64) -> Reply<'_, ()> {
        Box::pin(bandwidth::forget(&self.engine, before))
    }

    fn silent(&self, before: Since, limit: u32) -> Reply<'_, Vec<NodeKey>> {
        Box::pin(evict::silent(&self.engine, before, limit))
    }

    fn evict<'a>(&'a self, nodes: &'a [NodeKey], before: Since, keys: u32) -> Reply<'a, Evicted> {
        Box::pin(evict::evict(&self.engine, nodes, before, keys))
    }

    fn audit(&self, after: Option<NodeKey>, limit: u32, stamp: Stamp) -> Reply<'_, Audited> {
        Box::pin(audit::audit(&self.engine, after, limit, stamp))
    }

    fn beat<'a>(&'a self, instance: &'a InstanceRow) -> Reply<'a, ()> {
        Box::pin(instances::beat(&self.engine, instance))
    }

    fn instances(&self) -> Reply<'_, Vec<InstanceRow>> {
        Box::pin(instances::all(&self.engine))
    }

    fn forget_instance(&self, id: Writer, beat: i64) -> Reply<'_, ()> {
        Box::pin(instances::forget(&self.engine, id, beat))
    }

    fn lease(&self, name: &'static str, now: i64, until: Stamp) -> Reply<'_, bool> {
        Box::pin(lease::take(&self.engine, name, now, until))
    }
}
