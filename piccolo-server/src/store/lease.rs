//! Work that one instance does for all.

use crate::store::{
    Stamp, StoreError,
    engine::{Engine, Work as _},
    retry::retried,
    statement::{Arg, Statement},
};

/// How far the clocks of instances may be apart.
const AHEAD_MS: i64 = 120_000;

/// Takes the lease `name` for `until.writer` until `until.at`, where it is free at `now` or its
/// own already. One that ends much later than it could is of a clock that was ahead.
pub(super) async fn take<E: Engine>(
    engine: &E,
    name: &'static str,
    now: i64,
    until: Stamp,
) -> Result<bool, StoreError> {
    retried::<E, _, _>(|| attempt(engine, name, now, until))
        .await
        .map_err(|e| StoreError::of("take a lease", e))
}

async fn attempt<E: Engine>(
    engine: &E,
    name: &str,
    now: i64,
    until: Stamp,
) -> Result<bool, sqlx::Error> {
    let mut work = engine.begin().await?;
    let insert = [
        E::DIALECT.insert_ignore,
        " INTO lease (name, owner, until) VALUES (?,0,0)",
    ]
    .concat();
    let name = || Arg::Text(name.to_owned());
    work.execute(Statement::built(insert, [name()])).await?;
    let update = "UPDATE lease SET owner = ?, until = ? \
        WHERE name = ? AND (owner = ? OR until < ? OR until > ?)";
    let owner = || Arg::Int(until.writer.0);
    let latest = until.at.max(now).saturating_add(AHEAD_MS);
    let args = [
        owner(),
        until.at.into(),
        name(),
        owner(),
        now.into(),
        latest.into(),
    ];
    let taken = work.execute(Statement::fixed(update, args)).await?;
    work.commit().await?;
    Ok(taken > 0)
}
