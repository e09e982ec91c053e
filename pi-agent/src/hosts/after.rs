//! The hosts that containerd asks after the agent, by the file that it takes for a registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml_edit::{DocumentMut, Item};

use super::{
    block,
    former::PORT,
    reach::Reach,
    release::{PullPath, Release},
    search::{Search, Taken, exists},
};
use crate::registry::{RegistryName, RegistryUrl, address, host_and_port};

/// Where the files are, and which of the hosts in them is the agent.
#[derive(Debug, Clone)]
pub struct HostFiles {
    /// The directory that containerd's `config_path` names.
    pub hosts_dir: PathBuf,
    /// containerd's own configuration.
    pub containerd_config: PathBuf,
    /// containerd's release, where it is known.
    pub release: Option<Release>,
    /// Where containerd reaches the agent.
    pub mirror_url: String,
}

/// A host that containerd resolves tags at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHost {
    /// The URL before the repository's name, without a slash at its end.
    pub base: String,
    /// Whether it is asked in the place of the registry, which it is told the name of then.
    pub stands_in: bool,
}

/// Whom containerd asks after the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The hosts of the file, in their order.
    pub hosts: Vec<NextHost>,
    /// Who is asked last.
    pub last: NextHost,
}

impl HostFiles {
    /// Whom containerd asks for a tag of `registry` after the agent. `None` where that is not known: no
    /// file is seen here that names the agent. Reads from the disk.
    pub fn after(&self, registry: &str) -> Option<After> {
        let name: RegistryName = registry.parse().ok()?;
        let text = fs::read_to_string(self.file(name.as_str())?).ok()?;
        after(&text, registry, &self.mirror_url)
    }

    /// The file that containerd takes. Where its configuration is not seen here, the one under the
    /// directory that the agent was told of.
    fn file(&self, registry: &str) -> Option<PathBuf> {
        let reach = Reach::read(&self.containerd_config, &self.hosts_dir, self.release);
        if let Ok(reach) = reach {
            return reach.taken(registry).map(|(file, _)| file);
        }
        let directory = self.hosts_dir.to_string_lossy();
        let search = Search::new(&directory, PullPath::Transfer, self.release);
        match search.take(registry, |path: &Path| exists(path)) {
            Taken::Directory { path, .. } => Some(path.join("hosts.toml")),
            Taken::Nothing | Taken::Broken { .. } => None,
        }
    }
}

/// The same by the text of the file.
fn after(text: &str, registry: &str, mirror_url: &str) -> Option<After> {
    let document = text.parse::<DocumentMut>().ok()?;
    let table = document.get("host").and_then(Item::as_table_like);
    let hosts = block::hosts(&document);
    let own = hosts.iter().position(|host| is_agent(host, mirror_url))?;
    let behind = hosts.iter().skip(own + 1);
    let behind = behind.filter(|host| !is_agent(host, mirror_url));
    let behind = behind.filter_map(|host| {
        let settings = table?.get(host);
        let resolves = setting(settings, "capabilities").is_none_or(|capabilities| {
            let words = capabilities.as_array().into_iter().flatten();
            words
                .into_iter()
                .any(|word| word.as_str() == Some("resolve"))
        });
        resolves.then(|| next(host, settings, registry))
    });
    let root = Some(document.as_item());
    let last = match setting(root, "server").and_then(Item::as_str) {
        Some(server) => next(server, root, registry),
        None => next(&RegistryUrl::usual(registry), None, registry),
    };
    Some(After {
        hosts: behind.collect(),
        last,
    })
}

fn setting<'a>(table: Option<&'a Item>, key: &str) -> Option<&'a Item> {
    table?.as_table_like()?.get(key)
}

fn next(host: &str, settings: Option<&Item>, registry: &str) -> NextHost {
    let has_scheme = ["http://", "https://"]
        .iter()
        .any(|scheme| host.starts_with(scheme));
    let url = if has_scheme {
        host.to_owned()
    } else {
        let (name, path) = host.split_once('/').unwrap_or((host, ""));
        format!("{}/{path}", RegistryUrl::usual(name))
    };
    let url = url.trim_end_matches('/');
    let overrides = setting(settings, "override_path").and_then(Item::as_bool);
    let base = if overrides == Some(true) || url.ends_with("/v2") {
        url.to_owned()
    } else {
        format!("{url}/v2")
    };
    let usual = RegistryUrl::usual(registry);
    let stands_in = authority(&base) != authority(&usual);
    NextHost { base, stands_in }
}

/// Whether a host of the file is the agent: by the URL that was agreed on, or by the port on this host, which may
/// still be that of older releases.
fn is_agent(host: &str, mirror_url: &str) -> bool {
    let here = |url: &str| {
        let (host, port) = host_and_port(authority(url));
        let is_here = host == "localhost" || address(host).is_some_and(|ip| ip.is_loopback());
        is_here.then(|| port.map(str::to_owned))
    };
    let (own, former) = (here(mirror_url), Some(PORT.to_string()));
    let port = here(host);
    let is_here = port.is_some() && (port == own || port == Some(former));
    is_here || host.trim_end_matches('/') == mirror_url
}

/// The host and the port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::after;

    const MIRROR: &str = "http://127.0.0.1:7788";

    /// The URLs before the repository, each with `ns` where the host stands in for the registry.
    fn check(text: &str, registry: &str, expected: Option<&[&str]>) {
        check_at(MIRROR, text, registry, expected);
    }

    fn check_at(mirror: &str, text: &str, registry: &str, expected: Option<&[&str]>) {
        let found = after(text, registry, mirror).map(|after| {
            let all = after.hosts.into_iter().chain([after.last]);
            all.map(|host| host.base + if host.stands_in { " ns" } else { "" })
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|urls| urls.iter().map(|&url| url.to_owned()).collect());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_hosts_behind_the_agent_come_in_their_order() {
        let agent = "[host.\"http://127.0.0.1:7788\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
        check(agent, "r.test", Some(&["https://r.test/v2"]));
        let docker = Some(&["https://registry-1.docker.io/v2"][..]);
        check(agent, "docker.io", docker);
        let more = format!(
            "server = \"http://r.test:5000\"\n[host.\"http://before.test\"]\n{agent}\
             [host.\"https://harbor.test/v2/proxy\"]\noverride_path = true\n\
             [host.\"https://pulls.test\"]\ncapabilities = [\"pull\"]\n\
             [host.\"plain.test:81\"]\n"
        );
        let all = [
            "https://harbor.test/v2/proxy ns",
            "https://plain.test:81/v2 ns",
            "http://r.test:5000/v2",
        ];
        check(&more, "r.test:5000", Some(&all));
        let localhost = "[host.\"http://localhost:7788\"]\n";
        check(localhost, "r.test", Some(&["https://r.test/v2"]));
        let proxied = format!("server = \"https://cache.test\"\n{agent}");
        check(&proxied, "r.test", Some(&["https://cache.test/v2 ns"]));
    }

    #[test]
    fn a_file_of_an_older_release_names_the_agent_as_well() {
        let last = Some(&["https://r.test/v2"][..]);
        for older in ["127.0.0.1", "localhost", "[::1]"] {
            let older = format!("[host.\"http://{older}:7788\"]\n");
            for newer in ["http://127.0.0.1:288", "https://mirror.test"] {
                check_at(newer, &older, "r.test", last);
                let both = format!("[host.\"{newer}\"]\n{older}");
                check_at(newer, &both, "r.test", last);
            }
        }
        let elsewhere = "[host.\"http://10.0.0.1:7788\"]\n";
        check_at("http://127.0.0.1:288", elsewhere, "r.test", None);
    }

    #[test]
    fn a_file_without_the_agent_says_nothing() {
        for text in ["", "[host.\"https://a.test\"]\n", "[host", "host = 1"] {
            check(text, "r.test", None);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}", registry in "[a-z.:\\[\\]]{0,12}") {
            let _ = after(&format!("[host.\"{MIRROR}\"]\n{text}"), &registry, MIRROR);
        }
    }
}
