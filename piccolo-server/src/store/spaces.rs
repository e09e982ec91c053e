//! Groups and address families as small numbers.
//!
//! A group without nodes is marked as gone. Its number stays its own for an hour, since an instance may
//! still have it in memory; after that a new group gets it. So no number is of two groups at a time, and
//! they do not run out.

use piccolo_api::Group;

use crate::{
    packed::Family,
    store::{
        SpaceId, SpaceRow, StoreError,
        engine::{Columns, Engine, Work},
        retry::retried,
        rows,
        statement::{Arg, ROWS, Statement},
    },
};

/// Milliseconds for which the number of a gone group is kept for it.
const KEPT_MS: i64 = 3_600_000;

pub(super) async fn all<E: Engine>(engine: &E) -> Result<Vec<SpaceRow>, StoreError> {
    let sql = "SELECT id, grp, family FROM space WHERE id NOT IN (SELECT id FROM space_gone)";
    engine
        .rows(Statement::fixed(sql, []), row)
        .await
        .map_err(|e| StoreError::of("list the groups", e))
}

/// The number of a group that is there.
pub(super) async fn find<E: Engine>(
    engine: &E,
    group: &Group,
    family: Family,
) -> Result<Option<SpaceId>, StoreError> {
    let sql = "SELECT id FROM space WHERE grp = ? AND family = ? \
        AND id NOT IN (SELECT id FROM space_gone)";
    let found = engine
        .rows(Statement::fixed(sql, named(group, family)), id)
        .await;
    let mut found = found.map_err(|e| StoreError::of("look up a group", e))?;
    Ok(found.pop())
}

pub(super) async fn intern<E: Engine>(
    engine: &E,
    group: &Group,
    family: Family,
    now: i64,
) -> Result<SpaceId, StoreError> {
    if let Some(id) = find(engine, group, family).await? {
        return Ok(id);
    }
    let ids = retried::<E, _, _>(|| make(engine, group, family, now)).await;
    let mut ids = ids.map_err(|e| StoreError::of("take a group", e))?;
    ids.pop().ok_or(StoreError::TooManySpaces)
}

async fn make<E: Engine>(
    engine: &E,
    group: &Group,
    family: Family,
    now: i64,
) -> Result<Vec<SpaceId>, sqlx::Error> {
    let mut work = engine.begin().await?;
    // Before the group is looked up: another transaction that makes the same one at this moment has to let
    // go of this number first, and its group is seen then.
    let free = free_number::<E>(&mut work, now).await?;
    let mut ids = numbers::<E>(&mut work, group, family).await?;
    match (ids.first(), free) {
        (Some(id), _) => unmark::<E>(&mut work, *id).await?,
        (None, Some(id)) => {
            let sql = "UPDATE space SET grp = ?, family = ? WHERE id = ?";
            let [name, number] = named(group, family);
            let update = Statement::fixed(sql, [name, number, id.into()]);
            work.execute(update).await?;
            unmark::<E>(&mut work, id).await?;
            ids.push(id);
        }
        (None, None) => {
            let values = " INTO space (grp, family) VALUES ";
            let head = [E::DIALECT.insert_ignore, values].concat();
            let group_row = [named(group, family)].into_iter();
            let insert = Statement::repeated(&head, "(?,?)", group_row, "");
            work.execute(insert).await?;
            ids = numbers::<E>(&mut work, group, family).await?;
        }
    }
    work.commit().await?;
    Ok(ids)
}

/// A number whose group is gone for so long that no instance has it in memory.
async fn free_number<E: Engine>(
    work: &mut E::Work,
    now: i64,
) -> Result<Option<SpaceId>, sqlx::Error> {
    let sql = [
        "SELECT id FROM space_gone WHERE since < ? \
            AND NOT EXISTS (SELECT 1 FROM node WHERE node.space = space_gone.id) \
            ORDER BY since LIMIT ?",
        E::DIALECT.for_update,
    ]
    .concat();
    let args = [Arg::Int(now.saturating_sub(KEPT_MS)), Arg::Int(1)];
    Ok(work.rows(Statement::built(sql, args), id).await?.pop())
}

async fn numbers<E: Engine>(
    work: &mut E::Work,
    group: &Group,
    family: Family,
) -> Result<Vec<SpaceId>, sqlx::Error> {
    let sql = "SELECT id FROM space WHERE grp = ? AND family = ?";
    work.rows(Statement::fixed(sql, named(group, family)), id)
        .await
}

async fn unmark<E: Engine>(work: &mut E::Work, id: SpaceId) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM space_gone WHERE id = ?";
    work.execute(Statement::fixed(sql, [id.into()])).await?;
    Ok(())
}

/// Those without a node.
pub(super) async fn empty<E: Engine>(engine: &E) -> Result<Vec<SpaceId>, StoreError> {
    let sql = "SELECT id FROM space WHERE id NOT IN (SELECT id FROM space_gone) \
        AND NOT EXISTS (SELECT 1 FROM node WHERE node.space = space.id)";
    let found = engine.rows(Statement::fixed(sql, []), id).await;
    found.map_err(|e| StoreError::of("list the groups without nodes", e))
}

/// Marks these as gone, and those as there that were marked while a node was on its way.
pub(super) async fn mark_gone<E: Engine>(
    engine: &E,
    gone: &[SpaceId],
    now: i64,
) -> Result<(), StoreError> {
    retried::<E, _, _>(|| try_mark(engine, gone, now))
        .await
        .map_err(|e| StoreError::of("take away groups without nodes", e))
}

async fn try_mark<E: Engine>(engine: &E, gone: &[SpaceId], now: i64) -> Result<(), sqlx::Error> {
    let head = [
        E::DIALECT.insert_ignore,
        " INTO space_gone (id, since) VALUES ",
    ]
    .concat();
    let mut work = engine.begin().await?;
    for chunk in gone.chunks(ROWS) {
        let marks = chunk.iter().map(|id| [Arg::from(*id), now.into()]);
        work.execute(Statement::repeated(&head, "(?,?)", marks, ""))
            .await?;
    }
    let sql = "SELECT id FROM space_gone \
        WHERE EXISTS (SELECT 1 FROM node WHERE node.space = space_gone.id)";
    let back = work.rows(Statement::fixed(sql, []), id).await?;
    for chunk in back.chunks(ROWS) {
        let marks = chunk.iter().map(|id| [Arg::from(*id)]);
        let head = "DELETE FROM space_gone WHERE id IN (";
        work.execute(Statement::repeated(head, "?", marks, ")"))
            .await?;
    }
    work.commit().await
}

fn named(group: &Group, family: Family) -> [Arg; 2] {
    [
        Arg::Text(group.as_str().to_owned()),
        Arg::Int(family.number()),
    ]
}

fn id(row: &dyn Columns) -> Result<SpaceId, sqlx::Error> {
    rows::space(row, 0)
}

fn row(row: &dyn Columns) -> Result<SpaceRow, sqlx::Error> {
    let group = std::str::from_utf8(row.bytes(1)?).map_err(rows::decode)?;
    Ok(SpaceRow {
        id: rows::space(row, 0)?,
        group: group.parse().map_err(rows::decode)?,
        family: Family::from_number(row.int(2)?)
            .ok_or_else(|| rows::decode("a family is 4 or 6"))?,
    })
}
