//! Who has spoken TLS: until the certificate that was seen expires, nobody else speaks for it without.

use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

/// Most names that are kept. Only who has a certificate of a trusted authority gets in.
const MOST: usize = 1 << 18;

/// Names, and until when each counts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    until: Mutex<HashMap<String, u64>>,
    file: Option<PathBuf>,
    is_changed: AtomicBool,
}

impl Seen {
    /// What the file says; without one that is there, nobody.
    pub(super) fn load(file: Option<PathBuf>, now: Duration) -> io::Result<Self> {
        let until = match file.as_deref().map(fs::read) {
            None => HashMap::new(),
            Some(Ok(text)) => serde_json::from_slice(&text)?,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Some(Err(error)) => return Err(error),
        };
        let seen = Self {
            until: Mutex::new(until),
            file,
            is_changed: AtomicBool::new(true),
        };
        // Whether it can be written shows now, not when it counts.
        seen.store(now)?;
        Ok(seen)
    }

    /// `name` has a certificate that expires then.
    pub(super) fn note(&self, name: &str, expires: Duration, now: Duration) {
        let expires = expires.as_secs();
        let mut until = self.until.lock();
        if let Some(known) = until.get_mut(name) {
            if *known < expires {
                *known = expires;
                self.is_changed.store(true, Relaxed);
            }
            return;
        }
        if until.len() >= MOST {
            until.retain(|_, until| *until > now.as_secs());
        }
        if until.len() < MOST {
            until.insert(name.to_owned(), expires);
            self.is_changed.store(true, Relaxed);
        }
    }

    /// Whether `name` must speak TLS.
    pub(super) fn has(&self, name: &str, now: Duration) -> bool {
        let until = self.until.lock();
        until.get(name).is_some_and(|until| *until > now.as_secs())
    }

    /// Writes the file, if there is something new.
    pub(super) fn store(&self, now: Duration) -> io::Result<()> {
        let Some(file) = self
            .file
            .as_deref()
            .filter(|_| self.is_changed.swap(false, Relaxed))
        else {
            return Ok(());
        };
        let text = {
            let mut until = self.until.lock();
            until.retain(|_, until| *until > now.as_secs());
            serde_json::to_vec(&*until)?
        };
        replace(file, &text).inspect_err(|_| self.is_changed.store(true, Relaxed))
    }
}

/// The name of the agent at `address`.
pub(super) fn agent_at(address: IpAddr) -> String {
    format!("agent/{}", address.to_canonical())
}

/// Replaces the file as a whole.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text)?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, file)
}
