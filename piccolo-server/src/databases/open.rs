//! Opening the databases that the settings name.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use daemon::{
    access::{Need, explain},
    scope::Scope,
};
use piccolo_api::Group;

use crate::{
    config::{Address, Data, GroupDatabase},
    database::{Common, Database, Known},
    databases::Databases,
    store::{MySql, SqlStore, Sqlite, Store, StoreError},
};

/// Connections that read from one SQLite file.
const SQLITE_READERS: u32 = 4;

/// What the metrics and the log call the database that serves the groups without one of their own.
const DEFAULT: &str = "default";

/// Databases that are to be opened, once or until they are there.
#[derive(Debug)]
pub(crate) struct Opening {
    stores: Vec<(GroupDatabase, Arc<dyn Store>)>,
    migrate: bool,
    /// The groups that are served; empty for all.
    served: HashSet<Group>,
}

impl Opening {
    /// # Errors
    /// When the settings contradict themselves, or a file cannot be opened.
    pub(crate) async fn new(
        data: &Data,
        migrate: bool,
        served: HashSet<Group>,
    ) -> anyhow::Result<Self> {
        let mut stores: Vec<(GroupDatabase, _)> = Vec::new();
        for database in data.databases() {
            if stores
                .iter()
                .any(|(other, _)| other.group == database.group)
            {
                bail!(
                    "database {} is the second one for its group; replicas are named by --replica",
                    database.address
                );
            }
            let store = store(data, &database).await?;
            stores.push((database, store));
        }
        for replica in data.replicas() {
            if !stores
                .iter()
                .any(|(primary, _)| primary.group == replica.group)
            {
                bail!(
                    "replica {} is one of no database: name that by --database, with the same \
                     group before it",
                    replica.address
                );
            }
        }
        Ok(Self {
            stores,
            migrate,
            served,
        })
    }

    /// Brings the schemas up to date, or checks them, and reads what the databases know.
    ///
    /// # Errors
    /// When one of them cannot be used. [`may_pass`] tells whether it may be later.
    pub(crate) async fn open(&self, common: &Common, scope: &Scope) -> anyhow::Result<Databases> {
        for (database, store) in &self.stores {
            let schema = if self.migrate {
                store.migrate()
            } else {
                store.check_schema()
            };
            schema
                .await
                .with_context(|| format!("cannot use {}", database.address))?;
        }
        // Read all of them before starting any task: tasks cannot be taken back.
        let mut known = Vec::with_capacity(self.stores.len());
        for (database, store) in &self.stores {
            let read = Known::read(Arc::clone(store), common).await;
            let read = read.with_context(|| format!("cannot read {}", database.address))?;
            known.push((&database.group, read));
        }
        let mut own = HashMap::new();
        let mut others = None;
        for (group, known) in known {
            let name = group.as_ref().map_or(DEFAULT, Group::as_str);
            let started = Arc::new(Database::start(name.into(), known, common, scope));
            match group {
                Some(group) => drop(own.insert(group.clone(), started)),
                None => others = Some(started),
            }
        }
        Ok(Databases::new(own, others, self.served.clone()))
    }
}

/// Whether the error is transient: the database may be usable later.
pub(crate) fn may_pass(error: &anyhow::Error) -> bool {
    let store = error.chain().find_map(|cause| cause.downcast_ref());
    store.is_some_and(StoreError::may_pass)
}

/// The store at an address. A file is opened, a server is not called yet.
///
/// # Errors
/// When a file cannot be opened, or has replicas.
pub(crate) async fn store(data: &Data, database: &GroupDatabase) -> anyhow::Result<Arc<dyn Store>> {
    let of_this = |replica: &&GroupDatabase| replica.group == database.group;
    let mut replicas = data.replicas().iter().filter(of_this);
    match &database.address {
        Address::Sqlite(file) => {
            if let Some(replica) = replicas.next() {
                bail!(
                    "{} has no replicas, and {} cannot be one: only MySQL has them",
                    database.address,
                    replica.address
                );
            }
            let cannot = || format!("cannot open {}", database.address);
            if let Some(dir) = file.parent() {
                let made = tokio::fs::create_dir_all(dir).await;
                let explained = made.map_err(|error| explain(error, file, Need::Write));
                explained.with_context(cannot)?;
            }
            let engine = Sqlite::open(file, SQLITE_READERS)
                .await
                .with_context(cannot)?;
            Ok(Arc::new(SqlStore::new(engine)))
        }
        Address::MySql(options) => {
            readable(&database.address).await?;
            let mut servers = Vec::new();
            for replica in replicas {
                readable(&replica.address).await?;
                match &replica.address {
                    Address::MySql(options) => servers.push((**options).clone()),
                    Address::Sqlite(_) => bail!(
                        "{} cannot be a replica of {}: that takes another MySQL server",
                        replica.address,
                        database.address
                    ),
                }
            }
            let engine = MySql::new((**options).clone(), servers, data.database_connections);
            Ok(Arc::new(SqlStore::new(engine)))
        }
    }
}

/// Whether the files that a URL names can be read: a connection would fail with no word of which.
async fn readable(address: &Address) -> anyhow::Result<()> {
    for (option, file) in address.files() {
        tokio::fs::read(&file)
            .await
            .with_context(|| format!("cannot read the file of {option} in {address}: {file}"))?;
    }
    Ok(())
}
