//! The way from containerd to the agent: `config_path`, the order of hosts, the mirror's port.

use std::{fs, path::Path, time::Duration};

use daemon::{client::JsonClient, telemetry::chain};
use toml_edit::DocumentMut;

use super::{Check, Verdict};
use crate::{
    config::Doctor,
    hosts::{block, config, place::Place},
    registry::RegistryName,
};

const DIAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3);
/// Registries whose files are looked at.
const MOST: usize = 200;

pub(super) async fn checks(settings: &Doctor) -> Vec<Check> {
    let mut checks = vec![config_path(settings)];
    let registries = registries(&settings.hosts_dir);
    if registries.is_empty() {
        checks.push(Check::new(
            "hosts.toml",
            Verdict::Bad,
            format!(
                "{} has none: containerd does not know the agent",
                settings.hosts_dir.display()
            ),
            "pi-agent configure",
        ));
    }
    let files = registries.iter().map(|registry| order(settings, registry));
    checks.extend(files);
    let any = checks
        .iter()
        .any(|c| c.name.starts_with("hosts.toml") && c.verdict == Verdict::Good);
    if !any {
        // Nothing leads to the agent at all.
        for check in checks
            .iter_mut()
            .filter(|c| c.name.starts_with("hosts.toml"))
        {
            check.verdict = Verdict::Bad;
        }
    }
    checks.push(mirror(settings).await);
    checks
}

fn config_path(settings: &Doctor) -> Check {
    match config::check(&settings.containerd_config, &settings.hosts_dir) {
        Ok(()) => Check::good(
            "config_path",
            format!("leads to {}", settings.hosts_dir.display()),
        ),
        Err(config::ConfigError::Read { path, source }) => Check::new(
            "config_path",
            Verdict::Warning,
            format!("{} cannot be read: {source}", path.display()),
            "run as root, or name the file with --containerd-config",
        ),
        Err(error) => Check::new(
            "config_path",
            Verdict::Bad,
            format!(
                "{} does not lead here",
                settings.containerd_config.display()
            ),
            chain(&error).to_string(),
        ),
    }
}

fn registries(hosts_dir: &Path) -> Vec<RegistryName> {
    let mut found: Vec<RegistryName> = fs::read_dir(hosts_dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|registry| Place::new(hosts_dir, registry).file().is_file())
        .take(MOST)
        .collect();
    found.sort();
    found
}

fn order(settings: &Doctor, registry: &RegistryName) -> Check {
    let name = format!("hosts.toml of {registry}");
    let place = Place::new(&settings.hosts_dir, registry);
    let file = place.file();
    let text = match place.read() {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            return Check::new(
                name,
                Verdict::Warning,
                chain(&error).to_string(),
                "run as root",
            );
        }
    };
    let document: DocumentMut = match text.parse() {
        Ok(document) => document,
        Err(error) => {
            let found = format!("{} is no valid TOML: {error}", file.display());
            return Check::new(name, Verdict::Bad, found, "correct it");
        }
    };
    let url = settings.mirror_url.as_str();
    match block::hosts(&document).iter().position(|host| *host == url) {
        Some(0) => Check::good(name, format!("{url} comes first")),
        Some(place) => Check::new(
            name,
            Verdict::Bad,
            format!(
                "{url} is host number {}: containerd asks others before it",
                place + 1
            ),
            format!(
                "move it up in {}, or take it out and run pi-agent configure",
                file.display()
            ),
        ),
        None => Check::new(
            name,
            Verdict::Warning,
            format!("{url} is not in it: images of {registry} do not come from peers"),
            format!("pi-agent configure --registry {registry}"),
        ),
    }
}

async fn mirror(settings: &Doctor) -> Check {
    let url = format!("{}/v2/", settings.mirror_url);
    match JsonClient::new(DIAL).get(&url, DEADLINE).await {
        Ok(reply) if reply.status.is_success() => Check::good("mirror", format!("{url} answers")),
        Ok(reply) => Check::new(
            "mirror",
            Verdict::Bad,
            format!("{url} answers {}", reply.status),
            "another program has the port: give --mirror-listen another one, and run pi-agent \
             configure with the same --mirror-url",
        ),
        Err(error) => Check::new(
            "mirror",
            Verdict::Bad,
            chain(&error).to_string(),
            "start the agent, or run pi-agent configure with the --mirror-url where it listens",
        ),
    }
}
