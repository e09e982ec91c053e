//! Reading who holds what.

use crate::{
    key_hash::KeyHash,
    packed::Packed,
    store::{
        Nearest, SpaceId, StoreError,
        engine::Engine,
        rows,
        statement::{Arg, Statement},
    },
};

/// Two short scans of the primary key, whatever the number of holders.
pub(super) async fn nearest<E: Engine>(
    engine: &E,
    space: SpaceId,
    key: KeyHash,
    around: Packed,
    k: u32,
) -> Result<Nearest, StoreError> {
    let side = || {
        [
            space.into(),
            key.into(),
            around.into(),
            Arg::Int(i64::from(k)),
        ]
    };
    let statement = Statement::fixed(E::DIALECT.nearest, side()).with(side());
    let holders = engine.rows(statement, rows::one_holder).await;
    let holders = holders.map_err(|e| StoreError::Database("find a key's holders", e))?;
    let (below, above) = holders.into_iter().partition(|holder| *holder < around);
    Ok(Nearest { below, above })
}
