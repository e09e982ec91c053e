//! Requests of agents, and the part of a blob that each is for.

use std::{
    fs::File,
    io::{BufRead, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    net::TcpStream,
    path::Path,
};

use anyhow::{Context as _, Result};

/// A request's method, its path, and the part it is for.
#[derive(Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    range: Option<(u64, Option<u64>)>,
}

/// A blob of this peer, and the bytes that were asked for.
#[derive(Debug)]
pub(crate) struct Found {
    file: File,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) size: u64,
    /// Whether the request named a part.
    pub(crate) partial: bool,
}

impl Request {
    /// The next one, or `None` at the connection's end.
    pub(crate) fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut request = Self {
            method: words.next().context("a request without a method")?,
            path: words.next().context("a request without a path")?,
            range: None,
        };
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let field = field.trim();
            if field.is_empty() {
                return Ok(Some(request));
            }
            if let Some(range) = field.strip_prefix("Range: bytes=") {
                let (first, last) = range.split_once('-').context("a range without a dash")?;
                request.range = Some((first.parse()?, last.parse().ok()));
            }
        }
    }

    pub(crate) fn wants_body(&self) -> bool {
        self.method == "GET"
    }

    /// What it is for, where this peer has that.
    pub(crate) fn find(&self, blobs: &Path, zeros: Option<u64>) -> Result<Option<Found>> {
        let path = self.path.split('?').next().unwrap_or_default();
        let digest = path.rsplit('/').next().unwrap_or_default();
        let Some(hex) = digest.strip_prefix("sha256:") else {
            return Ok(None);
        };
        let (file, size) = match (File::open(blobs.join("sha256").join(hex)), zeros) {
            (Err(error), Some(size)) if error.kind() == ErrorKind::NotFound => {
                (File::open("/dev/zero").context("opening /dev/zero")?, size)
            }
            (Err(error), None) if error.kind() == ErrorKind::NotFound => return Ok(None),
            (file, _) => {
                let file = file.context("opening a blob")?;
                let size = file.metadata().context("looking at a blob")?.len();
                (file, size)
            }
        };
        let (start, last) = self.range.unwrap_or_default();
        Ok(Some(Found {
            file,
            start,
            end: last.map_or(size, |last| (last + 1).min(size)),
            size,
            partial: self.range.is_some(),
        }))
    }
}

impl Found {
    pub(crate) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub(crate) fn middle(&self) -> u64 {
        self.start + self.len() / 2
    }

    /// The head of a good reply.
    pub(crate) fn send_head(&self, stream: &TcpStream) -> Result<()> {
        self.send_head_of(stream, self.start, self.len(), self.size)
    }

    /// A head that speaks of `length` bytes from `start` on, of `size`.
    pub(crate) fn send_head_of(
        &self,
        mut stream: &TcpStream,
        start: u64,
        length: u64,
        size: u64,
    ) -> Result<()> {
        let last = (start + length).saturating_sub(1);
        let status = if self.partial || start != self.start {
            format!("206 Partial Content\r\nContent-Range: bytes {start}-{last}/{size}")
        } else {
            "200 OK".to_owned()
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
        Ok(stream.write_all(head.as_bytes())?)
    }

    /// Bytes from `from` to before `to`.
    pub(crate) fn send(&self, mut stream: &TcpStream, from: u64, to: u64) -> Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        std::io::copy(&mut file.take(to.saturating_sub(from)), &mut stream)?;
        Ok(())
    }

    /// The byte at an offset.
    pub(crate) fn byte(&self, at: u64) -> Result<u8> {
        let mut byte = [0];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}
