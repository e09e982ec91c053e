//! A registry's name as containerd writes it: the directory under `certs.d` and the `ns` of a
//! request.

use std::{fmt, net::IpAddr, str::FromStr};

/// `host`, `host:port`, `[v6]:port`, or `_default` for every registry without a file of its own.
///
/// It can name one directory and nothing else: no separators, no dots alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryName(Box<str>);

/// Why a text names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a registry is written host or host:port, without scheme and path, or _default")]
pub struct RegistryNameError;

impl RegistryName {
    /// The name that stands for all registries without a file of their own.
    pub const DEFAULT: &str = "_default";

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this stands for all registries without a file of their own.
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl FromStr for RegistryName {
    type Err = RegistryNameError;

    fn from_str(text: &str) -> Result<Self, RegistryNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let plausible = text.bytes().any(|b| b.is_ascii_alphanumeric())
            && text.len() <= 255
            && !text.starts_with('.')
            && text.bytes().all(allowed);
        if plausible {
            Ok(Self(text.into()))
        } else {
            Err(RegistryNameError)
        }
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a registry is, `REGISTRY=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl {
    /// The registry as it stands in image names.
    pub registry: String,
    /// Its base URL, without a slash at its end.
    pub url: String,
}

/// Why a text does not say where a registry is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is written REGISTRY=URL, for instance quay.io=https://quay.io")]
pub struct RegistryUrlError;

impl RegistryUrl {
    /// Where a registry is by its name, as containerd takes it.
    pub fn usual(registry: &str) -> String {
        let here = is_loopback(registry);
        match registry {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            _ if here => format!("http://{registry}"),
            _ => format!("https://{registry}"),
        }
    }
}

/// Whether a registry's name is that of this host, as containerd takes it. `127.example.com` is not.
fn is_loopback(registry: &str) -> bool {
    let (host, _) = host_and_port(registry);
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// The host of a registry's name, with its brackets, and its port.
pub(crate) fn host_and_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port))
            if !port.ends_with(']') && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, Some(port))
        }
        _ => (registry, None),
    }
}

/// The address that a host is, in brackets or without.
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// One name for each registry, where names decide what is shared: the host in lower case and without
/// a dot at its end, an IPv6 address in its usual form, no port where it is that of HTTPS, and
/// `docker.io` for all names of Docker Hub.
pub(crate) fn canonical(registry: &str) -> String {
    let lower = registry.to_ascii_lowercase();
    let (host, port) = host_and_port(&lower);
    // As numbers: `0443` is dialled as 443.
    let number = port
        .and_then(|port| port.parse::<u16>().ok())
        .map(|port| port.to_string());
    let port = number.as_deref().or(port);
    let host = match address(host) {
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.trim_end_matches('.').to_owned(),
    };
    match (host.as_str(), port) {
        ("index.docker.io" | "registry-1.docker.io" | "docker.io", None | Some("443")) => {
            "docker.io".to_owned()
        }
        (_, None | Some("443")) => host,
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

/// The same without a port, as containerd's labels name the registry that content came from.
pub(crate) fn canonical_host(registry: &str) -> String {
    let mut name = canonical(registry);
    let host = host_and_port(&name).0.len();
    name.truncate(host);
    name
}

/// Whether a URL has a host and, if any, a port that there is: a number too large is no error elsewhere.
pub(crate) fn names_host(uri: &http::Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, end)| !end.ends_with(']'));
    uri.host().is_some_and(|host| !host.is_empty()) && (!has_port || uri.port_u16().is_some())
}

impl FromStr for RegistryUrl {
    type Err = RegistryUrlError;

    fn from_str(text: &str) -> Result<Self, RegistryUrlError> {
        let (registry, url) = text.split_once('=').ok_or(RegistryUrlError)?;
        let name = registry.parse::<RegistryName>();
        let uri = url.parse::<http::Uri>();
        match (name, uri) {
            (Ok(name), Ok(uri))
                if matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.query().is_none()
                    && names_host(&uri) =>
            {
                Ok(Self {
                    registry: name.as_str().to_owned(),
                    url: url.trim_end_matches('/').to_owned(),
                })
            }
            _ => Err(RegistryUrlError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RegistryName, RegistryUrl, canonical, canonical_host};

    #[test]
    fn a_registry_has_one_name() {
        for (name, one) in [
            ("REG.test:5000", "reg.test:5000"),
            ("reg.test.", "reg.test"),
            ("reg.test:443", "reg.test"),
            ("reg.test:80", "reg.test:80"),
            ("Index.Docker.io", "docker.io"),
            ("registry-1.docker.io:443", "docker.io"),
            ("docker.io", "docker.io"),
            ("[2001:DB8:0::1]:5000", "[2001:db8::1]:5000"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
        ] {
            assert_eq!(canonical(name), one, "{name}");
            assert_eq!(canonical(one), one);
        }
        // Go's `Hostname` leaves the brackets out.
        for (name, host) in [
            ("REG.test:5000", "reg.test"),
            ("reg.test", "reg.test"),
            ("registry-1.docker.io:443", "docker.io"),
            ("[2001:DB8:0::1]:5000", "[2001:db8::1]"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("192.0.2.1:5000", "192.0.2.1"),
        ] {
            assert_eq!(canonical_host(name), host, "{name}");
        }
    }

    #[test]
    fn a_registry_is_where_its_name_says_or_where_it_is_told() {
        for (registry, url) in [
            ("docker.io", "https://registry-1.docker.io"),
            ("quay.io", "https://quay.io"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("127.evil.com", "https://127.evil.com"),
            ("localhost", "http://localhost"),
            ("[::1]:5000", "http://[::1]:5000"),
            ("localhost:5000", "http://localhost:5000"),
        ] {
            assert_eq!(RegistryUrl::usual(registry), url);
        }
        let told: RegistryUrl = "r.corp:5000=http://10.0.0.1:5000/".parse().unwrap();
        assert_eq!(
            (&*told.registry, &*told.url),
            ("r.corp:5000", "http://10.0.0.1:5000")
        );
        for bad in [
            "",
            "quay.io",
            "quay.io=",
            "quay.io=quay.io",
            "a/b=http://x",
            "q=ftp://x",
            "q=https://x:70000",
            "q=https://:5000",
        ] {
            assert!(bad.parse::<RegistryUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_a_directory_and_nothing_else() {
        for good in [
            "docker.io",
            "127.0.0.1:5000",
            "_default",
            "[fd00::1]:5000",
            "localhost",
        ] {
            assert_eq!(good.parse::<RegistryName>().unwrap().as_str(), good);
        }
        for bad in [
            "", ".", "..", "a/b", "http://x", "../x", "a b", ":", "_", "a\0",
        ] {
            assert!(bad.parse::<RegistryName>().is_err(), "{bad:?}");
        }
    }
}
