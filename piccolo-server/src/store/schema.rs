//! Whether the database has the schema that this program was built for.

use crate::store::{
    StoreError,
    engine::{Columns, Engine},
    statement::Statement,
};

/// Every embedded migration must have been applied.
pub(super) async fn check<E: Engine>(engine: &E) -> Result<(), StoreError> {
    let sql = "SELECT version FROM _sqlx_migrations WHERE success";
    let version = |row: &dyn Columns| row.int(0);
    let applied = match engine.rows(Statement::fixed(sql, []), version).await {
        Err(error) if E::is_no_table(&error) => Vec::new(),
        other => other.map_err(|e| StoreError::of("tell its schema's version", e))?,
    };
    let missing = E::migrations()
        .iter()
        .map(|migration| migration.version)
        .find(|version| !applied.contains(version));
    match missing {
        None => Ok(()),
        Some(migration) => Err(StoreError::Schema { migration }),
    }
}
