//! The references under `docs/` say what the program says, and the program what it does.

use std::path::Path;

use anyhow::Result;
use testbed::{Alone, reference};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pi-agent");
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

#[test]
fn the_references_are_up_to_date() -> Result<()> {
    reference::check_pages(Path::new(PROGRAM), Path::new(DOCS))
}

#[test]
fn every_flag_is_explained_and_can_be_set_in_the_environment() -> Result<()> {
    let settings = reference::said_by(Path::new(PROGRAM), "settings-doc")?;
    for command in ["run", "configure", "status", "peers", "doctor"] {
        assert!(settings.contains(&format!("### `pi-agent {command}`")));
    }
    for (flag, cells) in reference::rows(&settings) {
        assert!(flag.starts_with("--"), "{flag}");
        let one_off = [
            "--json",
            "--once",
            "--remove",
            "--force",
            "--check",
            "--end-silent-agent",
        ]
        .contains(&flag.as_str());
        assert_eq!(cells[0].is_empty(), one_off, "{flag}: {cells:?}");
        assert!(cells[2].len() > 10, "{flag}: {cells:?}");
    }
    Ok(())
}

/// The table of the page is the one that the chart and the agent use.
#[test]
fn the_page_of_distributions_has_the_paths_that_are_used() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(DOCS).join("distributions.md"))?;
    for (name, d) in pi_agent::distribution::all() {
        let paths = [&d.socket, &d.content, &d.hosts, &d.config];
        let cells: Vec<_> = paths
            .iter()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        let row = format!("| `{name}` | {} |\n", cells.join(" | "));
        assert!(page.contains(&row), "no {row}");
        let says = |what: &str| {
            page.lines()
                .any(|line| line.starts_with(&format!("| `{name}` |")) && line.contains(what))
        };
        assert_eq!(says("| **yes** |"), d.discards, "{name}");
        assert_eq!(says("no pod may"), !d.writes, "{name}");
    }
    Ok(())
}

/// An agent without containerd and without a server.
#[test]
fn a_scrape_has_what_the_reference_names_and_nothing_else() -> Result<()> {
    let content = tempfile::tempdir()?;
    let program = Path::new(PROGRAM);
    let agent = Alone::start_agent(program, "http://127.0.0.1:1", content.path(), &[])?;
    let missing = format!("/v2/lib/a/blobs/sha256:{}?ns=r.test", "0".repeat(64));
    assert!(agent.get("mirror", &missing)?.starts_with("HTTP/1.1 404"));
    let scrape = agent.get("admin", "/metrics")?;
    let documented = reference::said_by(Path::new(PROGRAM), "metrics-doc")?;
    reference::check_scrape(&documented, &scrape)?;
    for series in [
        r#"piccolo_agent_mirror_requests_total{kind="blob",outcome="miss"} 1"#,
        r#"piccolo_agent_finds_total{outcome="no_server"} 1"#,
        r#"piccolo_agent_server_breaker_open{server="http://127.0.0.1:1"} 1"#,
    ] {
        assert!(scrape.contains(series), "no {series} in {scrape}");
    }
    Ok(())
}
