//! What instances have learned of the bandwidth between racks.

use crate::store::{
    BandwidthRow, Stamp, StoreError, Writer,
    engine::{Columns, Engine, Work as _},
    rows,
    statement::{Arg, ROWS, Statement},
};

const COLUMNS: &str = "from_rack, to_rack, writer, stamp, weight, log_rate, bytes, busy_us";

/// Replaces what `stamp.writer` wrote of these pairs before.
pub(super) async fn share<E: Engine>(
    engine: &E,
    learned: &[BandwidthRow],
    stamp: Stamp,
) -> Result<(), StoreError> {
    let failed = |e| StoreError::of("share what was learned of bandwidth", e);
    let head = format!("REPLACE INTO bandwidth ({COLUMNS}) VALUES ");
    let mut work = engine.begin().await.map_err(failed)?;
    for chunk in learned.chunks(ROWS) {
        let args = chunk.iter().map(|row| {
            [
                Arg::Text(row.from.clone()),
                Arg::Text(row.to.clone()),
                stamp.writer.0.into(),
                stamp.at.into(),
                row.weight.into(),
                row.log_rate.into(),
                row.bytes.into(),
                row.busy_us.into(),
            ]
        });
        work.execute(Statement::repeated(&head, "(?,?,?,?,?,?,?,?)", args, ""))
            .await
            .map_err(failed)?;
    }
    work.commit().await.map_err(failed)
}

/// What other instances than `writer` learned, and when they wrote it.
pub(super) async fn of_others<E: Engine>(
    engine: &E,
    writer: Writer,
) -> Result<Vec<(BandwidthRow, i64)>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bandwidth WHERE writer <> ?");
    let statement = Statement::built(sql, [Arg::Int(writer.0)]);
    engine
        .rows(statement, row)
        .await
        .map_err(|e| StoreError::of("read what was learned of bandwidth", e))
}

/// Removes rows older than that time.
pub(super) async fn forget<E: Engine>(engine: &E, before: i64) -> Result<(), StoreError> {
    let failed = |e| StoreError::of("forget old bandwidth", e);
    let mut work = engine.begin().await.map_err(failed)?;
    let statement = Statement::fixed("DELETE FROM bandwidth WHERE stamp < ?", [before.into()]);
    work.execute(statement).await.map_err(failed)?;
    work.commit().await.map_err(failed)
}

fn row(row: &dyn Columns) -> Result<(BandwidthRow, i64), sqlx::Error> {
    let text = |index| {
        let bytes = row.bytes(index)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(rows::decode)
    };
    let learned = BandwidthRow {
        from: text(0)?,
        to: text(1)?,
        weight: row.int(4)?,
        log_rate: row.int(5)?,
        bytes: row.int(6)?,
        busy_us: row.int(7)?,
    };
    Ok((learned, row.int(3)?))
}
