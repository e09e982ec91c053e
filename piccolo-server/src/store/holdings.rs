//! Reads holders of keys.

use std::net::Ipv4Addr;

use crate::{
    key_hash::KeyHash,
    packed::{Family, Packed, Stretch},
    store::{
        Nearest, SpaceId, StoreError,
        engine::{Engine, InOne},
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
    let query = Statement::fixed(E::DIALECT.nearest, side()).with(side());
    let holders = read(engine, around.family(), query, u32::MAX).await;
    let mut holders = holders.map_err(|e| StoreError::of("find a key's holders", e))?;
    holders.sort_unstable();
    let above = holders.split_off(holders.partition_point(|holder| *holder < around));
    holders.reverse();
    Ok(Nearest {
        below: holders,
        above,
    })
}

/// The holders of a key in the order of their addresses, at most `limit` after that one.
pub(super) async fn page<E: Engine>(
    engine: &E,
    (space, family): (SpaceId, Family),
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
    let holders = read(engine, family, Statement::fixed(SQL, args), limit).await;
    let mut holders = holders.map_err(|e| StoreError::of("list a key's holders", e))?;
    // In one value the database promises no order, and keeps it mostly.
    holders.sort_unstable();
    Ok(holders)
}

/// The holders that a query gives, of which there may be as many as `limit`.
async fn read<E: Engine>(
    engine: &E,
    family: Family,
    query: Statement,
    limit: u32,
) -> Result<Vec<Packed>, sqlx::Error> {
    let InOne {
        before,
        after,
        from,
    } = E::DIALECT.holders_in_one;
    if limit < from {
        return engine.old_rows(query, rows::one_holder).await;
    }
    let found = engine.old_rows(query.between(before, after), rows::bytes);
    Ok(apart(family, &found.await?.concat()))
}

/// Holders that stand one after another.
fn apart(family: Family, bytes: &[u8]) -> Vec<Packed> {
    let holders = bytes.chunks_exact(family.stride());
    holders.filter_map(Packed::from_slice).collect()
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
    let most = each.saturating_mul(u32::try_from(wanted * 2).unwrap_or(u32::MAX));
    let holders = read(engine, last.begin.family(), statement, most).await;
    holders.map_err(|e| StoreError::of("find holders in certain racks", e))
}
