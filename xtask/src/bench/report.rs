//! A bench's tables, for the eye and as JSON.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::machine::Machine;
use super::table::Table;

#[derive(Debug, Serialize)]
struct Report<'a> {
    bench: &'a str,
    machine: Machine,
    tables: Vec<Table>,
}

/// Prints the tables to standard output, and writes them to the file where one is named.
pub(super) fn show(bench: &str, tables: Vec<Table>, json: Option<&Path>) -> Result<()> {
    let report = Report {
        bench,
        machine: Machine::look()?,
        tables,
    };
    let mut out = io::stdout().lock();
    // Ignored: standard output is closed.
    let _ = writeln!(out, "\nbench {bench}: {}", report.machine);
    for table in &report.tables {
        let _ = write!(out, "\n{table}");
    }
    let Some(file) = json else { return Ok(()) };
    let text = serde_json::to_string_pretty(&report).context("encoding the figures")?;
    fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
}
