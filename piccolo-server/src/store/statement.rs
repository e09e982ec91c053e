//! SQL and its arguments.

use crate::{
    key_hash::KeyHash,
    packed::Packed,
    store::{NodeKey, SpaceId},
};

/// Rows of one statement; the databases bound the arguments of one.
pub(super) const ROWS: usize = 512;

/// SQL with `?` for its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(super) sql: Sql,
    pub(super) args: Vec<Arg>,
    /// The source line that made it: a test checks that it has seen all of them.
    #[cfg(test)]
    pub(super) made_at: &'static std::panic::Location<'static>,
}

#[derive(Debug, Clone)]
pub(super) enum Sql {
    Fixed(&'static str),
    /// Made of fixed parts, repeated; never of anything from outside.
    Built(String),
}

#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(i64),
    MaybeInt(Option<i64>),
    Hash([u8; 16]),
    Holder(Packed),
    Text(String),
}

impl Statement {
    #[track_caller]
    fn new(sql: Sql, args: Vec<Arg>) -> Self {
        Self {
            sql,
            args,
            #[cfg(test)]
            made_at: std::panic::Location::caller(),
        }
    }

    #[track_caller]
    pub(super) fn fixed<const N: usize>(sql: &'static str, args: [Arg; N]) -> Self {
        Self::new(Sql::Fixed(sql), args.into())
    }

    /// `sql` made of fixed parts.
    #[track_caller]
    pub(super) fn built<const N: usize>(sql: String, args: [Arg; N]) -> Self {
        Self::new(Sql::Built(sql), args.into())
    }

    /// `head`, then `row` once for each of `rows` with commas between, then `tail`.
    ///
    /// Rounds the number of rows up to one of a few by repeating the last, so that a few prepared
    /// statements serve every number; `rows` must not mind to be there twice.
    #[track_caller]
    pub(super) fn repeated<const N: usize>(
        head: &str,
        row: &str,
        rows: impl ExactSizeIterator<Item = [Arg; N]>,
        tail: &str,
    ) -> Self {
        let wanted = rounded(rows.len());
        let mut args = Vec::with_capacity(wanted * N);
        args.extend(rows.flatten());
        let mut sql = String::with_capacity(head.len() + wanted * (row.len() + 1) + tail.len());
        sql.push_str(head);
        for n in 0..wanted {
            if n > 0 {
                sql.push(',');
            }
            sql.push_str(row);
        }
        sql.push_str(tail);
        while args.len() < wanted * N && args.len() >= N {
            args.extend_from_within(args.len() - N..);
        }
        Self::new(Sql::Built(sql), args)
    }

    /// Puts SQL without arguments around a query.
    pub(super) fn between(self, before: &str, after: &str) -> Self {
        Self {
            sql: Sql::Built([before, self.text(), after].concat()),
            ..self
        }
    }

    /// What it does, as a label.
    pub(super) fn verb(&self) -> &'static str {
        let first = self.text().trim_start_matches('(').split(' ').next();
        match first.unwrap_or_default() {
            "SELECT" => "select",
            "INSERT" | "REPLACE" => "insert",
            "UPDATE" => "update",
            "DELETE" => "delete",
            _ => "other",
        }
    }

    /// `query` once for each of `rows` with UNION ALL between, rounded up as in
    /// [`repeated`](Self::repeated).
    #[track_caller]
    pub(super) fn union(query: &str, count: usize, rows: impl Iterator<Item = Vec<Arg>>) -> Self {
        let wanted = rounded(count);
        let mut args = Vec::new();
        let mut last = Vec::new();
        for row in rows {
            args.extend_from_slice(&row);
            last = row;
        }
        for _ in count..wanted {
            args.extend_from_slice(&last);
        }
        Self::new(Sql::Built(vec![query; wanted].join(" UNION ALL ")), args)
    }

    /// With arguments before those that it has.
    pub(super) fn led<const N: usize>(mut self, first: [Arg; N]) -> Self {
        self.args.splice(0..0, first);
        self
    }

    pub(super) fn with<const N: usize>(mut self, more: [Arg; N]) -> Self {
        self.args.extend(more);
        self
    }

    pub(super) fn text(&self) -> &str {
        match &self.sql {
            Sql::Fixed(sql) => sql,
            Sql::Built(sql) => sql,
        }
    }
}

/// The next number of the form 1, 2, 3, 4, 6, 8, 12, 16, ...
fn rounded(rows: usize) -> usize {
    let rows = rows.max(1);
    let power = rows.next_power_of_two();
    let below = power / 4 * 3;
    if rows <= below { below } else { power }
}

impl From<SpaceId> for Arg {
    fn from(space: SpaceId) -> Self {
        Self::Int(i64::from(space.0))
    }
}

impl From<KeyHash> for Arg {
    fn from(key: KeyHash) -> Self {
        Self::Hash(key.0)
    }
}

impl From<Packed> for Arg {
    fn from(holder: Packed) -> Self {
        Self::Holder(holder)
    }
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Arg {
    /// Bit for bit: the databases have no unsigned 64 bits in common.
    fn from(number: u64) -> Self {
        Self::Int(number.cast_signed())
    }
}

impl From<Option<u64>> for Arg {
    fn from(number: Option<u64>) -> Self {
        Self::MaybeInt(number.map(u64::cast_signed))
    }
}

/// The primary key of a node.
pub(super) fn node_args(node: NodeKey) -> [Arg; 2] {
    [node.space.into(), node.holder.into()]
}

/// A statement about nodes of one space: `head` takes the space, then come the holders.
///
/// A list of pairs would do for several spaces, but the databases do not always look pairs up by
/// the index.
#[track_caller]
pub(super) fn in_space(head: &str, nodes: &[NodeKey], tail: &str) -> Statement {
    let holders = nodes.iter().map(|node| [Arg::from(node.holder)]);
    let space = nodes.first().map_or(SpaceId(0), |node| node.space);
    Statement::repeated(head, "?", holders, tail).led([space.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_rounded_up_by_repeating_the_last() {
        let rows = [1_i64, 2, 3, 4, 5].map(|n| [Arg::Int(n)]);
        let statement = Statement::repeated("x IN (", "?", rows.into_iter(), ")");
        let Sql::Built(sql) = statement.sql else {
            panic!("a built statement is expected");
        };
        assert_eq!(sql, "x IN (?,?,?,?,?,?)");
        let numbers: Vec<_> = statement
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Int(n) => *n,
                _ => 0,
            })
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 5]);
    }

    #[test]
    fn few_numbers_of_rows_are_used() {
        let rounded = [0, 1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 385, 512].map(rounded);
        assert_eq!(rounded, [1, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 512, 512]);
    }
}
