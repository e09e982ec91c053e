//! Parsers of rows.

use crate::{
    key_hash::{Fingerprint, KeyHash},
    packed::Packed,
    patience::Agent,
    store::{NodeKey, NodeRow, NodeState, SpaceId, Version, engine::Columns},
};

/// Columns of [`node`], in its order. The version is of no known one if one of its two numbers is missing; a
/// node that has never had one has no epoch.
pub(super) const NODE: &str = "space, holder, seen, state, epoch, seq, held, digest";

pub(super) fn node(row: &dyn Columns) -> Result<NodeRow, sqlx::Error> {
    let (epoch, seq) = (row.maybe_int(4)?, row.maybe_int(5)?);
    let agent = if epoch.is_some() {
        Agent::Own
    } else {
        Agent::Go
    };
    let version = match (epoch, seq) {
        (Some(epoch), Some(seq)) => Some(Version {
            epoch: epoch.cast_unsigned(),
            seq: seq.cast_unsigned(),
        }),
        _ => None,
    };
    let count = u32::try_from(row.int(6)?).map_err(decode)?;
    let sum = <[u8; 16]>::try_from(row.bytes(7)?).map_err(decode)?;
    Ok(NodeRow {
        key: NodeKey {
            space: space(row, 0)?,
            holder: holder(row, 1)?,
        },
        seen: row.int(2)?,
        state: NodeState::from_byte(u8::try_from(row.int(3)?).map_err(decode)?),
        version,
        agent,
        held: Fingerprint {
            count,
            sum: u128::from_be_bytes(sum),
        },
    })
}

pub(super) fn one_holder(row: &dyn Columns) -> Result<Packed, sqlx::Error> {
    holder(row, 0)
}

pub(super) fn bytes(row: &dyn Columns) -> Result<Vec<u8>, sqlx::Error> {
    row.bytes(0).map(<[u8]>::to_vec)
}

pub(super) fn one_hash(row: &dyn Columns) -> Result<KeyHash, sqlx::Error> {
    hash(row, 0)
}

/// Space, key hash and holder.
pub(super) fn holding(row: &dyn Columns) -> Result<(NodeKey, KeyHash), sqlx::Error> {
    let node = NodeKey {
        space: space(row, 0)?,
        holder: holder(row, 2)?,
    };
    Ok((node, hash(row, 1)?))
}

pub(super) fn space(row: &dyn Columns, index: usize) -> Result<SpaceId, sqlx::Error> {
    u16::try_from(row.int(index)?).map(SpaceId).map_err(decode)
}

pub(super) fn holder(row: &dyn Columns, index: usize) -> Result<Packed, sqlx::Error> {
    Packed::from_slice(row.bytes(index)?).ok_or_else(|| decode("a holder is 6 or 18 bytes long"))
}

fn hash(row: &dyn Columns, index: usize) -> Result<KeyHash, sqlx::Error> {
    KeyHash::from_slice(row.bytes(index)?).ok_or_else(|| decode("a key hash is 16 bytes long"))
}

pub(super) fn decode(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}
