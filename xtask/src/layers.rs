//! `layers.toml`: the modules of each crate, in layers that only look down.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// Where the layers of all crates are stated.
pub(crate) const FILE: &str = "layers.toml";

/// The page that shows them.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";

/// On the page the tables stand between these.
const BEGIN: &str = "<!-- `cargo xtask docs` writes these tables from layers.toml -->\n";
const END: &str = "<!-- end of the layers -->\n";

/// The layers of all crates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layers {
    #[serde(rename = "crate")]
    pub(crate) crates: Vec<CrateLayers>,
}

/// The layers of one crate, the top one first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrateLayers {
    /// The package's name.
    pub(crate) name: String,
    pub(crate) layers: Vec<Layer>,
}

/// Modules that may import from the layers below, and from those in their own layer in no circle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) modules: Vec<String>,
    /// What they are for.
    pub(crate) what: String,
    /// What they must not know. [`EACH_OTHER`] in it is checked: no imports within the layer.
    #[serde(default)]
    pub(crate) must_not_know: String,
    /// Whether they stand in the same layer as the modules of the row before.
    #[serde(default)]
    pub(crate) beside: bool,
}

/// In `must_not_know`: the other modules of the layer.
pub(crate) const EACH_OTHER: &str = "each other";

impl Layers {
    /// # Errors
    /// When the text is not what the file has to say.
    pub(crate) fn read(text: &str) -> Result<Self> {
        toml::from_str(text).with_context(|| format!("reading {FILE}"))
    }

    /// [`PAGE`] with the tables of these layers.
    ///
    /// # Errors
    /// When there is no place for them on it.
    pub(crate) fn written_into(&self, page: &str) -> Result<String> {
        let before = page.split_once(BEGIN).map(|(before, _)| before);
        let behind = page.split_once(END).map(|(_, behind)| behind);
        let (Some(before), Some(behind)) = (before, behind) else {
            bail!("{PAGE} has no place for the layers: a line {BEGIN}and a line {END}");
        };
        Ok([before, BEGIN, "\n", &self.tables(), END, behind].concat())
    }

    fn tables(&self) -> String {
        let mut page = String::new();
        for CrateLayers { name, layers } in &self.crates {
            // Writing to a String cannot fail.
            let _ = write!(
                page,
                "### {name}\n\n| modules | what for | must not know |\n|---|---|---|\n"
            );
            for layer in layers {
                let modules: Vec<_> = layer
                    .modules
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect();
                let Layer {
                    what,
                    must_not_know,
                    ..
                } = layer;
                let _ = writeln!(
                    page,
                    "| {} | {what} | {must_not_know} |",
                    modules.join(", ")
                );
            }
            page.push('\n');
        }
        page
    }
}
