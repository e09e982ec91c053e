//! The references under `docs/` say what the program says, and the program what it does.

use std::path::Path;

use anyhow::Result;
use testbed::{Alone, reference};

const PROGRAM: &str = env!("CARGO_BIN_EXE_piccolo-server");
const SIGNER: &str = "piccolo_signer_";
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

#[test]
fn the_references_are_up_to_date() -> Result<()> {
    reference::check_pages(Path::new(PROGRAM), Path::new(DOCS))
}

#[test]
fn a_scrape_has_what_the_reference_names_and_nothing_else() -> Result<()> {
    let state = tempfile::tempdir()?;
    let arguments = [
        "serve".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        "--admin-listen=127.0.0.1:0".to_owned(),
        format!("--state-dir={}", state.path().display()),
    ];
    let server = Alone::start(Path::new(PROGRAM), arguments, " listening ")?;
    let find = "/api/v1/distribution/findkey?key=a&group=g";
    assert!(server.get("api", find)?.starts_with("HTTP/1.1 404"));
    let scrape = server.get("admin", "/metrics")?;
    let documented = reference::said_by(Path::new(PROGRAM), "metrics-doc")?;
    // `pki serve` is another process.
    let is_own = |line: &&str| !line.contains(SIGNER);
    let lines: Vec<_> = documented.lines().filter(is_own).collect();
    assert!(lines.len() < documented.lines().count() && !scrape.contains(SIGNER));
    reference::check_scrape(&lines.join("\n"), &scrape)
}
