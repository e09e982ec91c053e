//! containerd's registry host files: which mirrors it asks before the registry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The mirrors of one registry, as containerd tries them.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// The registry's name in image names.
    pub registry: String,
    /// Where to go, first choice first; the registry itself is the last of them.
    pub urls: Vec<String>,
}

impl Hosts {
    /// Writes `<directory>/<registry>/hosts.toml`. containerd reads it again at each pull.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let place = directory.join(&self.registry);
        fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        let file = place.join("hosts.toml");
        fs::write(&file, self.text()).with_context(|| format!("writing {}", file.display()))
    }

    /// The server is also written as a host: containerd 1.6 ignores a file without any. It reads
    /// no table whose name has a bracket in it, as addresses of IPv6 have: such a server has to do.
    fn text(&self) -> String {
        let server = self
            .urls
            .last()
            .map(|url| format!("server = {url:?}\n"))
            .unwrap_or_default();
        let hosts = self.urls.iter().filter(|url| !url.contains('['));
        hosts.fold(server, |text, url| {
            text + &format!("\n[host.{url:?}]\n  capabilities = [\"pull\", \"resolve\"]\n")
        })
    }
}
