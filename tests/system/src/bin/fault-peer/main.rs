//! A peer that has an image and misbehaves in one way when it is asked for a layer: what a real
//! agent cannot be made to do.
//!
//! Everything small is served as it should be. Each time it misbehaves it says so on standard
//! output.

mod fault;
mod request;

use std::{
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
};

use anyhow::{Context as _, Result};
use clap::Parser;

use fault::Fault;
use request::Request;

/// A peer that misbehaves.
#[derive(Debug, Clone, Parser)]
struct Cli {
    /// Where other agents reach it.
    #[arg(long)]
    listen: SocketAddr,
    /// The directory of its blobs, in which `sha256` lies.
    #[arg(long)]
    blobs: PathBuf,
    /// What it does wrong.
    #[arg(long)]
    fault: Fault,
    /// Whom it names in its place when it has no time.
    #[arg(long, value_delimiter = ',')]
    alternate: Vec<SocketAddr>,
    /// Any other digest is as many bytes, all of them zero.
    #[arg(long)]
    zeros: Option<u64>,
    /// Replies of at least as many bytes are those of layers.
    #[arg(long, default_value_t = 1 << 20)]
    layer: u64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let listener = TcpListener::bind(cli.listen).context("listening")?;
    say("listens")?;
    for stream in listener.incoming() {
        let (stream, cli) = (stream.context("accepting")?, cli.clone());
        // A connection that the other side breaks off is its own matter.
        thread::spawn(move || serve(&stream, &cli));
    }
    Ok(())
}

/// Standard output is how the test knows what happened.
fn say(what: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").context("saying what happens")?;
    out.flush().context("saying what happens")
}

fn serve(stream: &TcpStream, cli: &Cli) -> Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let Some(found) = request.find(&cli.blobs, cli.zeros)? else {
            write!(
                &mut &*stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            )?;
            continue;
        };
        let is_layer = found.len() >= cli.layer && request.wants_body();
        if is_layer && cli.fault != Fault::None {
            say(&format!("misbehaves at {}-{}", found.start, found.end))?;
            cli.fault.play(stream, &found, &cli.alternate)?;
            return Ok(());
        }
        found.send_head(stream)?;
        if request.wants_body() {
            found.send(stream, found.start, found.end)?;
        }
    }
    Ok(())
}
