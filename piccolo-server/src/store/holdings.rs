//! Reading who holds what.

use std::net::Ipv4Addr;

use crate::{
    finder::Stretch,
    key_hash::KeyHash,
    packed::{Family, Packed},
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
    let holders = if let Some((before, after)) = E::DIALECT.holders_in_one {
        let sql = [before, E::DIALECT.nearest, after].concat();
        let statement = Statement::built(sql, side()).with(side());
        let found = engine.old_rows(statement, rows::bytes).await;
        found.map(|found| apart(around.family(), &found.concat()))
    } else {
        let statement = Statement::fixed(E::DIALECT.nearest, side()).with(side());
        engine.old_rows(statement, rows::one_holder).await
    };
    let mut holders = holders.map_err(|e| StoreError::Database("find a key's holders", e))?;
    holders.sort_unstable();
    let above = holders.split_off(holders.partition_point(|holder| *holder < around));
    holders.reverse();
    Ok(Nearest {
        below: holders,
        above,
    })
}

/// From so many on, one long value costs less than the rows.
const LONG: u32 = 1024;

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
    let holders = match E::DIALECT.holders_in_one {
        Some((before, after)) if limit >= LONG => {
            let statement = Statement::built([before, SQL, after].concat(), args);
            let found = engine.old_rows(statement, rows::bytes).await;
            found.map(|found| apart(family, &found.concat()))
        }
        _ => {
            engine
                .old_rows(Statement::fixed(SQL, args), rows::one_holder)
                .await
        }
    };
    let mut holders = holders.map_err(|e| StoreError::Database("list a key's holders", e))?;
    // In one value the database promises no order, and keeps it mostly.
    holders.sort_unstable();
    Ok(holders)
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
    let holders = engine.old_rows(statement, rows::one_holder).await;
    holders.map_err(|e| StoreError::Database("find holders in certain racks", e))
}
