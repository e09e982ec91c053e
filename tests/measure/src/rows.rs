//! The data set as SQL, in the schema of the server's own migrations.
//!
//! A server that had to take twenty million keys through its API would be loading for an hour, so
//! they are written past it: rows in the order of the primary key, the second index built at the
//! end.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Dataset, dataset::PORT, numbers::index};

/// Rows of one statement.
const ROWS: usize = 1000;

/// What is written, and for which database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowsPlan {
    /// The nodes.
    pub dataset: Dataset,
    /// Whose SQL it is.
    pub dialect: Dialect,
    /// When all nodes were last seen, in milliseconds since the Unix epoch.
    pub seen: i64,
}

/// The database's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// That of MySQL and MariaDB.
    MySql,
}

impl Dialect {
    /// What goes before the rows.
    const fn before(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;\n\
                 DROP INDEX holding_by_holder;\nBEGIN;\n"
            }
            Self::MySql => {
                "SET unique_checks = 0;\nALTER TABLE holding DROP KEY holding_by_holder;\nBEGIN;\n"
            }
        }
    }

    /// What comes after them.
    const fn after(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "COMMIT;\nCREATE INDEX holding_by_holder ON holding (space, holder, key_hash);\n\
                 ANALYZE;\nPRAGMA wal_checkpoint(TRUNCATE);\n"
            }
            Self::MySql => {
                "COMMIT;\nALTER TABLE holding ADD KEY holding_by_holder (space, holder, key_hash);\n\
                 ANALYZE TABLE holding, node;\n"
            }
        }
    }
}

pub(crate) fn write(plan: &RowsPlan, out: &mut impl Write) -> Result<()> {
    sql(plan, out).context("writing rows")
}

fn sql(plan: &RowsPlan, out: &mut impl Write) -> std::io::Result<()> {
    let RowsPlan {
        dataset,
        dialect,
        seen,
    } = plan;
    out.write_all(dialect.before().as_bytes())?;
    let group = Dataset::GROUP;
    writeln!(
        out,
        "INSERT INTO space (id, grp, family) VALUES (1, '{group}', 4);"
    )?;

    let popularity = Dataset::popularity();
    let hashes: Vec<[u8; 16]> = (0..Dataset::DIGESTS).map(hash).collect();
    let mut holders: Vec<Vec<u32>> = vec![Vec::new(); hashes.len()];
    let mut nodes = Rows::new("node (space, holder, seen, stamp, writer, state, held, digest)");
    for node in 0..dataset.nodes {
        let mut sum = 0_u128;
        for key in dataset.keys_of(&popularity, node) {
            if let (Some(hash), Some(holders)) =
                (hashes.get(index(key)), holders.get_mut(index(key)))
            {
                sum = sum.wrapping_add(u128::from_be_bytes(*hash));
                holders.push(node);
            }
        }
        let (holder, held) = (packed(node), dataset.keys);
        nodes.add(
            out,
            format_args!("1,x'{holder}',{seen},{seen},0,0,{held},x'{sum:032x}'"),
        )?;
    }
    nodes.end(out)?;

    let mut keys: Vec<_> = hashes.iter().zip(&holders).collect();
    keys.sort_unstable_by_key(|(hash, _)| **hash);
    let mut rows = Rows::new("holding (space, key_hash, holder)");
    for (hash, holders) in keys {
        let hash = hex::encode(hash);
        for holder in holders {
            rows.add(out, format_args!("1,x'{hash}',x'{}'", packed(*holder)))?;
        }
    }
    rows.end(out)?;
    out.write_all(dialect.after().as_bytes())
}

/// The first half of a digest.
fn hash(number: u32) -> [u8; 16] {
    let digest = Dataset::digest(number.into());
    digest.first_chunk().copied().unwrap_or_default()
}

/// Address and port, as the server packs a holder.
fn packed(node: u32) -> String {
    let [a, b, c, d] = Dataset::address(node).octets();
    format!("{a:02x}{b:02x}{c:02x}{d:02x}{PORT:04x}")
}

/// Statements of many rows each.
struct Rows {
    table: &'static str,
    pending: usize,
}

impl Rows {
    fn new(table: &'static str) -> Self {
        Self { table, pending: 0 }
    }

    fn add(&mut self, out: &mut impl Write, row: std::fmt::Arguments<'_>) -> std::io::Result<()> {
        match self.pending {
            0 => write!(out, "INSERT INTO {} VALUES ({row})", self.table)?,
            _ => write!(out, ",({row})")?,
        }
        self.pending += 1;
        if self.pending == ROWS {
            self.end(out)
        } else {
            Ok(())
        }
    }

    fn end(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        if self.pending > 0 {
            out.write_all(b";\n")?;
        }
        self.pending = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_keys_and_rows_come_in_the_key_order() {
        let plan = RowsPlan {
            dataset: Dataset {
                nodes: 5,
                keys: 400,
            },
            dialect: Dialect::Sqlite,
            seen: 7,
        };
        let mut sql = Vec::new();
        write(&plan, &mut sql).expect("writing to memory");
        let sql = String::from_utf8(sql).expect("text");
        let rows: Vec<_> = sql
            .lines()
            .filter(|line| line.starts_with("INSERT INTO holding"))
            .flat_map(|line| line.split('(').skip(2))
            .collect();
        assert_eq!(rows.len(), 5 * 400);
        assert!(rows.is_sorted());
        assert!(
            sql.contains("(1,x'0a0000051e6b',7,7,0,0,400,x'"),
            "the fifth node's row"
        );
    }
}
