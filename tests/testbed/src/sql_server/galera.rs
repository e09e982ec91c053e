//! MariaDB servers that are members of one Galera cluster.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{Product, SqlServer, free_port};
use crate::wait::wait_until;

/// Set where tests over a cluster are wanted: they take their time, and are run by hand.
const WANTED: &str = "PICCOLO_TEST_GALERA";

/// The library that makes a MariaDB a member, where Debian's galera-4 and others have it.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
];

/// Not root: a member that joins gets its data through an rsync that it starts, and one of root's writes
/// as nobody, to whom the data are closed.
const USER: &str = "mysql";

/// Longest wait for a member that copies another one's data.
const JOIN: Duration = Duration::from_mins(2);

/// The members, each with data of its own, on loopback. Dropping it kills them.
#[derive(Debug)]
pub struct Galera {
    /// In the order in which they joined.
    pub members: Vec<SqlServer>,
    name: String,
    /// On which each listens for the others.
    ports: Vec<u16>,
    library: &'static str,
}

impl Galera {
    /// Whether tests over a cluster are wanted.
    #[expect(
        clippy::disallowed_methods,
        reason = "which databases the tests run over is told to them by the environment alone"
    )]
    pub fn is_wanted() -> bool {
        std::env::var_os(WANTED).is_some()
    }

    /// Has a command that runs tests run those over a cluster.
    pub fn want(command: &mut Command) {
        command.env(WANTED, "1");
    }

    /// Starts a cluster, one member after another: each copies what the first one has, who gives it to
    /// one at a time.
    ///
    /// # Errors
    ///
    /// When MariaDB or galera-4 is not installed, or a member does not join.
    pub fn start(size: usize) -> Result<Self> {
        let library = LIBRARIES.into_iter().find(|file| Path::new(file).exists());
        let mut cluster = Self {
            members: Vec::new(),
            name: format!("piccolo-{}", std::process::id()),
            ports: (0..size).map(|_| free_port()).collect::<Result<_>>()?,
            library: library.context("galera-4 is not installed")?,
        };
        for place in 0..size {
            let mut member = SqlServer::make(Product::MariaDb)?;
            member.run_as(USER)?;
            let mut settings = cluster.settings(place)?;
            if place == 0 {
                settings.push("--wsrep-new-cluster".to_owned());
            }
            member.set(settings);
            cluster.members.push(member);
            cluster.join(place, place + 1)?;
        }
        Ok(cluster)
    }

    /// Starts a member that was killed; it joins the others, of whom one has to be there.
    ///
    /// # Errors
    ///
    /// When it does not join.
    pub fn rejoin(&mut self, place: usize) -> Result<()> {
        let settings = self.settings(place)?;
        let member = self.members.get_mut(place).context("no such member")?;
        member.set(settings);
        let size = self.members.len();
        self.join(place, size)
    }

    /// Starts a member, and waits for it. What went wrong is in the log of the one that gives as well.
    fn join(&mut self, place: usize, size: usize) -> Result<()> {
        let member = self.members.get_mut(place).context("no such member")?;
        let joined = member.resume_within(JOIN);
        let joined = joined.and_then(|()| self.wait_for(size, place));
        joined.with_context(|| {
            let complaints = self.members.iter().map(SqlServer::complaints);
            let complaints: Vec<_> = complaints.collect();
            format!(
                "member {place} did not join; the members said:\n{}",
                complaints.join("\n\n")
            )
        })
    }

    /// Waits until a member sees the given number of members and takes changes.
    fn wait_for(&self, size: usize, place: usize) -> Result<()> {
        let member = self.members.get(place).context("no such member")?;
        let state = "SELECT variable_value FROM information_schema.global_status WHERE variable_name IN \
            ('wsrep_cluster_size', 'wsrep_local_state_comment', 'wsrep_ready') ORDER BY variable_name";
        let wanted = format!("{size}\nSynced\nON");
        wait_until("a member to join", JOIN, || {
            let state = member.execute(state)?;
            Ok((state.trim() == wanted).then_some(()))
        })
    }

    fn settings(&self, place: usize) -> Result<Vec<String>> {
        let port = self.ports.get(place).context("no such member")?;
        let all: Vec<_> = self
            .ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        // For the data that a member that joins copies, and for the changes that it missed.
        let (copy, missed) = (free_port()?, free_port()?);
        Ok(vec![
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--binlog-format=ROW".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={}", self.library),
            format!("--wsrep-cluster-name={}", self.name),
            format!("--wsrep-cluster-address=gcomm://{}", all.join(",")),
            format!("--wsrep-node-name=member-{place}"),
            format!("--wsrep-node-address=127.0.0.1:{port}"),
            "--wsrep-sst-method=rsync".to_owned(),
            format!("--wsrep-sst-receive-address=127.0.0.1:{copy}"),
            format!(
                "--wsrep-provider-options=base_port={port};gmcast.listen_addr=tcp://127.0.0.1:{port};\
                 ist.recv_addr=127.0.0.1:{missed};gcache.size=16M"
            ),
        ])
    }
}
