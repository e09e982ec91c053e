//! The commands that look at the topology file and at a running server's ranking.

mod matrix;
mod server;

use std::{
    io::{IsTerminal as _, Write as _},
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Result, bail};
use topology::{Candidate, Estimates, Query, Topology};

use crate::{
    config::{Color, Explain, Look, TopologyCommand, TopologySource},
    topology_file,
};

/// Runs the command, and prints its result on standard output.
///
/// # Errors
/// When a file has mistakes, or a server does not answer.
pub async fn run(command: TopologyCommand) -> Result<()> {
    let text = match command {
        TopologyCommand::Check { file } => check(&file)?,
        TopologyCommand::Schema => serde_json::to_string_pretty(&topology::schema())? + "\n",
        TopologyCommand::Locate { source, ip } => locate(&source, ip).await?,
        TopologyCommand::Explain(explain) => explained(&explain).await?,
        TopologyCommand::Matrix { server, color } => {
            let known = server::bandwidth(&server).await?;
            matrix::table(&known, colours(color))
        }
        TopologyCommand::Suggest { server } => server::suggest(&server).await?,
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Shows what a running server says of the crowd for a key, on standard output.
///
/// # Errors
/// When no server answers, or nobody fetches the key.
pub async fn swarm(look: &Look) -> Result<()> {
    let text = server::swarm(look).await?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn check(file: &Path) -> Result<String> {
    let topology = topology_file::load(file)?;
    let places = topology.places();
    let prefixes: usize = places.iter().map(|place| place.cidrs().len()).sum();
    Ok(format!(
        "{}: {} places with {prefixes} prefixes\n",
        file.display(),
        places.len(),
    ))
}

async fn locate(source: &TopologySource, ip: IpAddr) -> Result<String> {
    let Some(file) = &source.topology else {
        return server::locate(&source.server, ip).await;
    };
    let topology = topology_file::load(file)?;
    let rack = topology.locate(ip);
    let prefixes = topology.rack_prefixes(rack);
    let name = topology.rack_name(rack);
    Ok(located(ip, &name, topology.knows(ip), &prefixes))
}

fn located(ip: IpAddr, rack: &str, known: bool, prefixes: &[impl ToString]) -> String {
    let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    let note = if known {
        ""
    } else {
        ", guessed: the file does not mention the address"
    };
    format!("{ip} is in {rack} ({}){note}\n", prefixes.join(", "))
}

async fn explained(explain: &Explain) -> Result<String> {
    let Some(file) = &explain.source.topology else {
        return server::explain(explain).await;
    };
    let topology = topology_file::load(file)?;
    Ok(by_file(&topology, explain.from, &explain.to))
}

fn by_file(topology: &Topology, requester: IpAddr, holders: &[IpAddr]) -> String {
    let candidates: Vec<_> = holders
        .iter()
        .map(|ip| Candidate::new(SocketAddr::new(*ip, 7787), 0))
        .collect();
    let query = Query {
        requester,
        key: b"",
        seed: 0,
        now: Duration::ZERO,
        limit: candidates.len(),
    };
    topology::explain(&candidates, &query, topology, &Estimates::default())
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn colours(color: Color) -> bool {
    match color {
        Color::Auto => std::io::stdout().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    }
}

/// An answer that is not the wanted one, as an error that says what the server said.
fn refused(url: &str, status: http::StatusCode, body: &[u8]) -> Result<String> {
    let body = String::from_utf8_lossy(body);
    bail!("{url} answers {status}: {}", body.trim())
}
