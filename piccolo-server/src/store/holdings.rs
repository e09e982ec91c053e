//! Reading who holds what.

use std::net::Ipv4Addr;

use crate::{
    finder::Stretch,
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
    let holders = engine.old_rows(statement, rows::one_holder).await;
    let holders = holders.map_err(|e| StoreError::Database("find a key's holders", e))?;
    let (below, above) = holders.into_iter().partition(|holder| *holder < around);
    Ok(Nearest { below, above })
}

/// The holders of a key in the order of their addresses, at most `limit` after that one.
pub(super) async fn page<E: Engine>(
    engine: &E,
    space: SpaceId,
    key: KeyHash,
    after: Option<Packed>,
    limit: u32,
) -> Result<Vec<Packed>, StoreError> {
    const SQL: &str = "SELECT holder FROM holding \
        WHERE space = ? AND key_hash = ? AND holder > ? ORDER BY holder LIMIT ?";
    // No holder has the unspecified address, and so all come after it.
    let after = after.unwrap_or_else(|| Packed::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    let args = [
        space.into(),
        key.into(),
        after.into(),
        Arg::Int(limit.into()),
    ];
    let holders = engine
        .old_rows(Statement::fixed(SQL, args), rows::one_holder)
        .await;
    holders.map_err(|e| StoreError::Database("list a key's holders", e))
}

/// Some holders of a key in each stretch, at most `each` from where it begins upwards and as many
/// from its first up to there, in no order.
pub(super) async fn within<E: Engine>(
    engine: &E,
    space: SpaceId,
    key: KeyHash,
    stretches: &[Stretch],
    each: u32,
) -> Result<Vec<Packed>, StoreError> {
    // `ORDER BY` with a limit has to stand in a query of its own.
    const UPWARDS: &str = "SELECT holder FROM (SELECT holder FROM holding \
        WHERE space = ? AND key_hash = ? AND holder >= ? AND holder <= ? \
        ORDER BY holder LIMIT ?) AS stretch";
    const UNION: &str = " UNION ALL ";
    // A few numbers of stretches, so that a few prepared statements serve all.
    let wanted = stretches.len().next_power_of_two();
    let sql = vec![UPWARDS; wanted * 2].join(UNION);
    let mut statement = Statement::built(sql, []);
    let Some(last) = stretches.last() else {
        return Ok(Vec::new());
    };
    let padded = stretches.iter().chain(std::iter::repeat(last));
    for stretch in padded.take(wanted) {
        for (from, to) in [
            (stretch.begin, stretch.last),
            (stretch.first, stretch.begin),
        ] {
            let limit = Arg::Int(each.into());
            statement = statement.with([space.into(), key.into(), from.into(), to.into(), limit]);
        }
    }
    let holders = engine.old_rows(statement, rows::one_holder).await;
    holders.map_err(|e| StoreError::Database("find holders in certain racks", e))
}
