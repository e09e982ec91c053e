//! Whether containerd is still led to the address where older releases listened by default.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::config::imports;

/// The port.
pub const PORT: u16 = 7788;

/// The files that may lead it there.
#[derive(Debug, Clone)]
pub struct FormerAddress {
    /// The directory that containerd's `config_path` names.
    pub hosts_dir: PathBuf,
    /// containerd's own configuration, in which distributions write mirrors as well.
    pub containerd_config: PathBuf,
    /// Where the mirror listens now, if that is for this host alone.
    pub own: Option<IpAddr>,
}

impl FormerAddress {
    /// The address that one of the files names: the former port where the mirror listens now, or else where it did
    /// by default.
    ///
    /// # Errors
    /// When the directory or a file that is there cannot be read.
    pub fn named(&self) -> io::Result<Option<SocketAddr>> {
        let directories = match fs::read_dir(&self.hosts_dir) {
            Ok(directories) => directories.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut texts: Vec<_> = directories
            .iter()
            .map(|entry| read(&entry.path().join("hosts.toml")))
            .collect::<io::Result<_>>()?;
        let config = read(&self.containerd_config)?;
        for imported in imports(&self.containerd_config, &config) {
            texts.push(read(&imported)?);
        }
        texts.push(config);
        let mut addresses = self.addresses().into_iter();
        Ok(addresses.find(|address| texts.iter().any(|text| is_in(*address, text))))
    }

    /// The addresses, the first one first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let default = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let own = self.own.filter(|own| *own != default);
        let ips = own.into_iter().chain([default]);
        ips.map(|ip| SocketAddr::new(ip, PORT)).collect()
    }
}

/// The text of a file; none where there is no such file.
fn read(file: &Path) -> io::Result<String> {
    match fs::read(file) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        // A file that stands where a directory could, or the other way round.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
            ) =>
        {
            Ok(String::new())
        }
        Err(error) => Err(error),
    }
}

/// Whether a text names the address, other than in a comment on a line of its own.
fn is_in(address: SocketAddr, text: &str) -> bool {
    let names = [address.to_string(), format!("localhost:{}", address.port())];
    let lines = text.lines();
    let mut lines = lines.filter(|line| !line.trim_start().starts_with('#'));
    lines.any(|line| names.iter().any(|name| has_whole(line, name)))
}

/// Whether a line has a name that no other digit follows.
fn has_whole(line: &str, name: &str) -> bool {
    let mut ends = line.match_indices(name).map(|(at, _)| at + name.len());
    ends.any(|end| !line[end..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{FormerAddress, fs, is_in};

    #[test]
    fn a_file_names_it_by_itself_and_not_in_a_comment() {
        let address: SocketAddr = "127.0.0.1:7788".parse().unwrap();
        for (text, is_named) in [
            ("[host.\"http://127.0.0.1:7788\"]\n", true),
            ("  endpoint = [\"http://localhost:7788/\"]", true),
            ("[host.\"http://127.0.0.1:288\"]\n", false),
            ("[host.\"http://127.0.0.1:77880\"]\n", false),
            ("a = 1\n  # was http://127.0.0.1:7788\n", false),
            ("", false),
        ] {
            assert_eq!(is_in(address, text), is_named, "{text}");
        }
    }

    #[test]
    fn the_address_is_the_one_that_is_named() {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("config.toml");
        for (own, text, named) in [
            ("127.0.0.1", "http://127.0.0.1:7788", Some("127.0.0.1:7788")),
            ("127.0.0.1", "http://127.0.0.2:7788", None),
            ("127.0.0.2", "http://127.0.0.2:7788", Some("127.0.0.2:7788")),
            ("::1", "http://127.0.0.1:7788", Some("127.0.0.1:7788")),
            ("::1", "http://[::1]:7788", Some("[::1]:7788")),
            ("::1", "http://localhost:7788", Some("[::1]:7788")),
            ("::1", "http://localhost:288", None),
        ] {
            let former = FormerAddress {
                hosts_dir: root.path().join("certs.d"),
                containerd_config: config.clone(),
                own: Some(own.parse().unwrap()),
            };
            let _ = fs::remove_file(&config);
            assert_eq!(former.named().unwrap(), None, "nothing is there");
            fs::write(&config, text).unwrap();
            let named = named.map(|named| named.parse().unwrap());
            assert_eq!(former.named().unwrap(), named, "{text} at {own}");
        }
    }
}
