//! The servers of a crowd's agents, and their database.

use std::net::IpAddr;

use anyhow::Result;
use testbed::{Bed, Product, Server, SqlServer};

/// What the agents of a crowd report to.
#[derive(Clone, Copy, Debug)]
pub enum Servers {
    /// One server over a file.
    One,
    /// This number of instances over a MariaDB.
    OverMariaDb(u8),
}

/// Those beside the bed's own, and the database of all.
#[derive(Debug, Default)]
pub(super) struct Others {
    // The servers go first.
    _servers: Vec<Server>,
    pub(super) database: Option<SqlServer>,
}

/// Starts them; agents that start later report to all of them.
pub(super) fn start(bed: &mut Bed, servers: Servers, arguments: &[&str]) -> Result<Others> {
    let Servers::OverMariaDb(count) = servers else {
        bed.start_server(arguments)?;
        return Ok(Others::default());
    };
    let database = SqlServer::start(Product::MariaDb)?;
    database.execute("CREATE DATABASE piccolo")?;
    // The servers' namespaces do not reach a loopback port of the machine.
    let socket = database.execute("SELECT @@socket")?;
    let url = format!("mysql://root@localhost/piccolo?socket={}", socket.trim());
    bed.use_database(&url);
    let told = |address: IpAddr| {
        // Instances divide the keys among those that say where they are.
        let at = (count > 1).then(|| format!("--instance-address={address}"));
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        arguments.chain(at).collect::<Vec<_>>()
    };
    let own = told(bed.server_address());
    bed.start_server(&own.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut urls = vec![bed.server_url()];
    let mut servers = Vec::new();
    for number in 1..count {
        let host = bed
            .network()
            .add_core_host(&format!("server-{number}"), None)?;
        let own = told(host.address);
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        let server = Server::start_over(bed.run(), &host, &url, &own)?;
        urls.push(server.url());
        servers.push(server);
    }
    bed.use_servers(&urls);
    Ok(Others {
        _servers: servers,
        database: Some(database),
    })
}
