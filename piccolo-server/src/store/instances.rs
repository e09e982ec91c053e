//! Which instances of the server there are: one row of each.

use std::net::SocketAddr;

use crate::store::{
    InstanceRow, StoreError, Writer,
    engine::{Columns, Engine, Work as _},
    retry::retried,
    rows,
    statement::{Arg, Statement},
};

/// Most instances that are read: no site runs more, and each of them calls all others.
const MAX_INSTANCES: i64 = 256;

/// Writes an instance's row: one beat more, or the first one.
pub(super) async fn beat<E: Engine>(engine: &E, row: &InstanceRow) -> Result<(), StoreError> {
    retried::<E, _, _>(|| beaten(engine, row))
        .await
        .map_err(|e| StoreError::of("say that this instance is there", e))
}

async fn beaten<E: Engine>(engine: &E, row: &InstanceRow) -> Result<(), sqlx::Error> {
    let id = || Arg::Int(row.id.0);
    let mut work = engine.begin().await?;
    let again = Statement::fixed("UPDATE instance SET beat = beat + 1 WHERE id = ?", [id()]);
    if work.execute(again).await? == 0 {
        let first = "INSERT INTO instance (id, address, secret, beat) VALUES (?,?,?,1)";
        let address = Arg::Text(row.address.to_string());
        let args = [id(), address, row.secret.into()];
        work.execute(Statement::fixed(first, args)).await?;
    }
    work.commit().await
}

/// The rows of all instances, also of those that are gone.
pub(super) async fn all<E: Engine>(engine: &E) -> Result<Vec<InstanceRow>, StoreError> {
    let sql = "SELECT id, address, secret, beat FROM instance ORDER BY id LIMIT ?";
    let read = engine.rows(Statement::fixed(sql, [Arg::Int(MAX_INSTANCES)]), row);
    let rows = read.await;
    let rows = rows.map_err(|e| StoreError::of("read which instances there are", e))?;
    Ok(rows.into_iter().flatten().collect())
}

/// Removes an instance's row, unless it has written it again since that beat.
pub(super) async fn forget<E: Engine>(engine: &E, id: Writer, beat: i64) -> Result<(), StoreError> {
    retried::<E, _, _>(|| forgotten(engine, id, beat))
        .await
        .map_err(|e| StoreError::of("forget an instance", e))
}

async fn forgotten<E: Engine>(engine: &E, id: Writer, beat: i64) -> Result<(), sqlx::Error> {
    let mut work = engine.begin().await?;
    let sql = "DELETE FROM instance WHERE id = ? AND beat <= ?";
    let args = [Arg::Int(id.0), beat.into()];
    work.execute(Statement::fixed(sql, args)).await?;
    work.commit().await
}

/// None of a row that no instance has written.
fn row(row: &dyn Columns) -> Result<Option<InstanceRow>, sqlx::Error> {
    let address = std::str::from_utf8(row.bytes(1)?).map_err(rows::decode)?;
    let Ok(address) = address.parse::<SocketAddr>() else {
        return Ok(None);
    };
    Ok(Some(InstanceRow {
        id: Writer(row.int(0)?),
        address,
        secret: row.int(2)?,
        beat: row.int(3)?,
    }))
}
