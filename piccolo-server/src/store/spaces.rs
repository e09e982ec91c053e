//! Groups and address families as small numbers.

use piccolo_api::Group;

use crate::{
    packed::Family,
    store::{
        SpaceId, SpaceRow, StoreError,
        engine::{Columns, Engine, Work as _},
        retry::retried,
        rows,
        statement::{Arg, Statement},
    },
};

const SELECT: &str = "SELECT id FROM space WHERE grp = ? AND family = ?";

pub(super) async fn all<E: Engine>(engine: &E) -> Result<Vec<SpaceRow>, StoreError> {
    let statement = Statement::fixed("SELECT id, grp, family FROM space", []);
    engine
        .rows(statement, row)
        .await
        .map_err(|e| StoreError::of("list the groups", e))
}

pub(super) async fn intern<E: Engine>(
    engine: &E,
    group: &Group,
    family: Family,
) -> Result<SpaceId, StoreError> {
    let failed = |e| StoreError::of("take a group", e);
    let args = || {
        [
            Arg::Text(group.as_str().to_owned()),
            Arg::Int(family.number()),
        ]
    };
    let known = engine
        .rows(Statement::fixed(SELECT, args()), |r| rows::space(r, 0))
        .await;
    if let Some(id) = known.map_err(failed)?.pop() {
        return Ok(id);
    }
    let ids = retried::<E, _, _>(|| make(engine, args)).await;
    ids.map_err(failed)?.pop().ok_or(StoreError::TooManySpaces)
}

async fn make<E: Engine>(
    engine: &E,
    args: impl Fn() -> [Arg; 2],
) -> Result<Vec<SpaceId>, sqlx::Error> {
    let mut work = engine.begin().await?;
    let values = " INTO space (grp, family) VALUES ";
    let head = [E::DIALECT.insert_ignore, values].concat();
    let insert = Statement::repeated(&head, "(?,?)", [args()].into_iter(), "");
    work.execute(insert).await?;
    let ids = work
        .rows(Statement::fixed(SELECT, args()), |r| rows::space(r, 0))
        .await?;
    work.commit().await?;
    Ok(ids)
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
