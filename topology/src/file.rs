//! The topology file: from text to a [`Topology`], or to everything that is wrong with it.
//!
//! YAML is read into a tree that knows where each piece stands; the tables of known keys turn that
//! into typed values, and are what the JSON Schema is made from; the rest is checked piece by
//! piece. Each step reports all that it finds and goes on with what is sound.

mod build;
mod cidrs;
mod document;
mod error;
mod keys;
mod lines;
mod links;
mod names;
mod nearest;
mod network;
mod problem;
mod read;
mod schema;
mod shape;
mod units;
mod value;

pub use error::{FileError, FileErrors};
pub use problem::Problem;
pub use schema::schema;

use crate::Topology;
use crate::file::error::Findings;

impl Topology {
    /// Reads a topology file.
    ///
    /// # Errors
    /// Gives all the mistakes of the file at once, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, FileErrors> {
        let mut findings = Findings::default();
        let topology = document::load(text, &mut findings)
            .and_then(|root| read::section(&root, &keys::FILE, &mut findings))
            .map(|file| build::topology(&file, &mut findings));
        findings.into_result(topology)
    }
}
