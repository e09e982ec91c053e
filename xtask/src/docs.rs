//! `cargo xtask docs`: the references of metrics and settings, written by the programs themselves, and
//! the layers of the code, written from `layers.toml`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::layers::{self, Layers};
use crate::shell::{output, run, say};
use crate::workspace::{self, cargo};

const PROGRAMS: [&str; 2] = ["pi-agent", "piccolo-server"];

/// A page and the hidden command that prints a program's part of it.
struct Page {
    file: &'static str,
    command: &'static str,
    head: &'static str,
}

const PAGES: [Page; 2] = [
    Page {
        file: "docs/metrics.md",
        command: "metrics-doc",
        head: "# Metrics\n\n\
            What both programs show Prometheus under `/metrics` of their admin address. Times are in\n\
            seconds, sizes in bytes. A metric without labels is there from the start; one with labels\n\
            has a series for each combination that has occurred.\n\n\
            This page is written by `cargo xtask docs` out of the programs themselves.\n",
    },
    Page {
        file: "docs/settings.md",
        command: "settings-doc",
        head: "# Settings\n\n\
            Every setting of both programs. A flag wins over the environment, the environment over the\n\
            settings file that `--config` names: a TOML file with a line `flag-name = value` for each\n\
            setting, where a flag that may be given several times takes a list. An unknown flag or key\n\
            is an error that names the nearest known one.\n\n\
            This page is written by `cargo xtask docs` out of the programs themselves.\n",
    },
];

/// Writes the pages again.
pub(crate) fn write() -> Result<()> {
    for (path, text) in pages()? {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Wants the pages to say what the programs say.
pub(crate) fn check() -> Result<()> {
    for (path, text) in pages()? {
        let written =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        if written != text {
            bail!(
                "{} is not what the programs say: run `cargo xtask docs`",
                path.display()
            );
        }
    }
    Ok(())
}

/// The map of the code, with the modules in their layers.
fn layers() -> Result<(PathBuf, String)> {
    let root = workspace::root()?;
    let read =
        |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"));
    let layers = Layers::read(&read(layers::FILE)?)?;
    let page = layers.written_into(&read(layers::PAGE)?)?;
    Ok((root.join(layers::PAGE), page))
}

fn pages() -> Result<Vec<(PathBuf, String)>> {
    let root = workspace::root()?;
    // As the whole workspace, so that no dependency is built a second time with other features.
    let mut build = cargo(&["build", "--workspace"])?;
    build.args(PROGRAMS.iter().flat_map(|program| ["--bin", program]));
    run(&mut build)?;
    let mut pages = Vec::new();
    for page in PAGES {
        let mut text = page.head.to_owned();
        for program in PROGRAMS {
            let said = output(Command::new(testbed::binary(program)?).arg(page.command))?;
            let part = ["\n## ", program, "\n\n", said.trim_end(), "\n"];
            text.extend(part);
        }
        pages.push((root.join(page.file), text));
    }
    pages.push(layers()?);
    Ok(pages)
}
