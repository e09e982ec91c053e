//! Groups and address families as small numbers.

use piccolo_api::Group;

use crate::{
    packed::Family,
    store::{
        SpaceId, SpaceRow, StoreError,
        engine::{Columns, Engine, Work as _},
        rows,
        statement::{Arg, Statement},
    },
};

pub(super) async fn all<E: Engine>(engine: &E) -> Result<Vec<SpaceRow>, StoreError> {
    let statement = Statement::fixed("SELECT id, grp, family FROM space", []);
    engine
        .rows(statement, row)
        .await
        .map_err(|e| StoreError::Database("list the groups", e))
}

pub(super) async fn intern<E: Engine>(
    engine: &E,
    group: &Group,
    family: Family,
) -> Result<SpaceId, StoreError> {
    let failed = |e| StoreError::Database("take a group", e);
    let args = || {
        [
            Arg::Text(group.as_str().to_owned()),
            Arg::Int(family.number()),
        ]
    };
    let select = "SELECT id FROM space WHERE grp = ? AND family = ?";
    let known = engine
        .rows(Statement::fixed(select, args()), |r| rows::space(r, 0))
        .await;
    if let Some(id) = known.map_err(failed)?.pop() {
        return Ok(id);
    }
    let mut work = engine.begin().await.map_err(failed)?;
    let values = " INTO space (grp, family) VALUES ";
    let head = [E::DIALECT.insert_ignore, values].concat();
    let insert = Statement::repeated(&head, "(?,?)", [args()].into_iter(), "");
    work.execute(insert).await.map_err(failed)?;
    let ids = work
        .rows(Statement::fixed(select, args()), |r| rows::space(r, 0))
        .await;
    work.commit().await.map_err(failed)?;
    ids.map_err(failed)?.pop().ok_or(StoreError::TooManySpaces)
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
