//! The way from containerd to the agent: `config_path`, the order of hosts, the mirror's port.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use daemon::{client::JsonClient, telemetry::chain};
use toml_edit::DocumentMut;

use super::{Check, Verdict};
use crate::{
    config::Doctor,
    containerd::Containerd,
    hosts::{
        block, config::ConfigError, misplaced::Misplaced, place::HostsToml, reach::Reach,
        search::registry_of,
    },
    registry::RegistryName,
};

const DIAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3);
/// Registries whose files are looked at.
const MAX_REGISTRIES: usize = 200;

pub(super) async fn checks(settings: &Doctor) -> Vec<Check> {
    let release = Containerd::release(&settings.containerd.containerd_socket).await;
    let reach = Reach::read(&settings.containerd_config, &settings.hosts_dir, release);
    let mut checks = vec![config_path(settings, &reach)];
    let reach = reach.ok();
    let registries = registries(settings, reach.as_ref());
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
    let files = registries
        .iter()
        .map(|registry| entry(settings, reach.as_ref(), registry));
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

fn config_path(settings: &Doctor, reach: &Result<Reach, ConfigError>) -> Check {
    let name = "config_path";
    match reach {
        Ok(reach) => match reach.doubt() {
            None => Check::good(name, format!("leads to {}", settings.hosts_dir.display())),
            Some(doubt) => Check::new(
                name,
                Verdict::Warning,
                "containerd does not say its release",
                format!("see containerd above; if it is 2.1 or later: {doubt}"),
            ),
        },
        Err(ConfigError::Read { path, source }) => Check::new(
            name,
            Verdict::Warning,
            format!("{} cannot be read: {source}", path.display()),
            "run as root, or name the file with --containerd-config",
        ),
        Err(error) => Check::new(
            name,
            Verdict::Bad,
            format!(
                "{} does not lead here",
                settings.containerd_config.display()
            ),
            chain(error).to_string(),
        ),
    }
}

/// The registries that have a mirror file in any directory that containerd searches.
fn registries(settings: &Doctor, reach: Option<&Reach>) -> Vec<RegistryName> {
    let roots = reach.map_or(&[][..], Reach::roots);
    let found: BTreeSet<_> = [&settings.hosts_dir]
        .into_iter()
        .chain(roots)
        .flat_map(|root| registries_of(root))
        .collect();
    found.into_iter().take(MAX_REGISTRIES).collect()
}

fn registries_of(root: &Path) -> impl Iterator<Item = RegistryName> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().join("hosts.toml").is_file());
    files.filter_map(|entry| registry_of(entry.file_name().to_str()?).parse().ok())
}

/// Whether containerd asks the agent for a registry, by the file that it takes.
fn entry(settings: &Doctor, reach: Option<&Reach>, registry: &RegistryName) -> Check {
    let ours = HostsToml::new(&settings.hosts_dir, registry);
    let Some(reach) = reach else {
        return order(settings, registry, &ours.file());
    };
    let name = name_of(registry);
    if let (Err(error @ Misplaced::Hides { .. }), true) = (reach.place(registry), ours.is_ours()) {
        // Pulls of what it hides may fail for it.
        let remedy =
            "pi-agent configure takes this entry out; then give the directory that it names";
        return Check::new(name, Verdict::Bad, chain(&error).to_string(), remedy);
    }
    let Some((file, root)) = reach.taken(registry.as_str()) else {
        let found = format!(
            "containerd takes no mirror file for {registry}, not even {}",
            ours.file().display()
        );
        return Check::new(name, Verdict::Bad, found, "see config_path above");
    };
    let check = order(settings, registry, &file);
    if check.verdict != Verdict::Warning || file == ours.file() {
        return check;
    }
    match first_host(&ours.file()) {
        Some(host) if host == settings.mirror_url => Check::new(
            name,
            Verdict::Bad,
            format!(
                "containerd takes {} and never {}: it does not ask the agent",
                file.display(),
                ours.file().display()
            ),
            format!("pi-agent configure --hosts-dir {}", root.display()),
        ),
        _ => check,
    }
}

fn name_of(registry: &RegistryName) -> String {
    format!("hosts.toml of {registry}")
}

fn first_host(file: &Path) -> Option<String> {
    let document: DocumentMut = fs::read_to_string(file).ok()?.parse().ok()?;
    block::hosts(&document).first().map(|&host| host.to_owned())
}

fn order(settings: &Doctor, registry: &RegistryName, file: &Path) -> Check {
    let name = name_of(registry);
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            let found = format!("{} cannot be read: {error}", file.display());
            return Check::new(name, Verdict::Warning, found, "run as root");
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
