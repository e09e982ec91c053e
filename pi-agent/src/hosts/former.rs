//! Whether containerd is still led to the address where older releases listened by default.

use std::{fs, io, net::SocketAddr, path::PathBuf};

/// The files that may lead it there.
#[derive(Debug, Clone)]
pub struct FormerAddress {
    /// The directory that containerd's `config_path` names.
    pub hosts_dir: PathBuf,
    /// containerd's own configuration, in which distributions write mirrors as well.
    pub containerd_config: PathBuf,
    /// The address.
    pub address: SocketAddr,
}

impl FormerAddress {
    /// Whether one of the files names the address.
    ///
    /// # Errors
    /// When the directory or a file that is there cannot be read.
    pub fn is_named(&self) -> io::Result<bool> {
        let directories = match fs::read_dir(&self.hosts_dir) {
            Ok(directories) => directories.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let files = directories
            .iter()
            .map(|entry| entry.path().join("hosts.toml"));
        for file in files.chain([self.containerd_config.clone()]) {
            match fs::read(&file) {
                Ok(text) if self.is_in(&String::from_utf8_lossy(&text)) => return Ok(true),
                Ok(_) => {}
                // A file that stands where a directory could.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether a text names the address, other than in a comment on a line of its own.
    fn is_in(&self, text: &str) -> bool {
        let names = [
            self.address.to_string(),
            format!("localhost:{}", self.address.port()),
        ];
        let lines = text.lines();
        let mut lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        lines.any(|line| names.iter().any(|name| has_whole(line, name)))
    }
}

/// Whether a line has a name that no other digit follows.
fn has_whole(line: &str, name: &str) -> bool {
    let mut ends = line.match_indices(name).map(|(at, _)| at + name.len());
    ends.any(|end| !line[end..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::FormerAddress;

    #[test]
    fn a_file_names_it_by_itself_and_not_in_a_comment() {
        let former = FormerAddress {
            hosts_dir: "/nowhere".into(),
            containerd_config: "/nowhere".into(),
            address: "127.0.0.1:7788".parse().unwrap(),
        };
        for (text, is_named) in [
            ("[host.\"http://127.0.0.1:7788\"]\n", true),
            ("  endpoint = [\"http://localhost:7788/\"]", true),
            ("[host.\"http://127.0.0.1:288\"]\n", false),
            ("[host.\"http://127.0.0.1:77880\"]\n", false),
            ("a = 1\n  # was http://127.0.0.1:7788\n", false),
            ("", false),
        ] {
            assert_eq!(former.is_in(text), is_named, "{text}");
        }
        assert!(!former.is_named().unwrap(), "nothing is there");
    }
}
