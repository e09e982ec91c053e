//! Attaching and nothing else.

use std::{
    io::Read,
    net::{Ipv4Addr, TcpListener},
};

use anyhow::Result;
use pi_agent::ebpf::Accounting;
use serde_json::json;

use crate::{PORT, outcome};

/// Attaches, tests itself, says what is in force and waits for the end of standard input.
pub(crate) fn run(accounting: &Accounting) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    accounting.check(listener.local_addr()?)?;
    outcome::print(accounting, &json!({}))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
