//! A small blocking HTTP/1.1 client that speaks from inside a namespace.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::netns::Netns;

const CONNECT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(30);
const MAX_HEAD_LINE: u64 = 16 << 10;
/// Answers here are small: manifests, status pages, metrics.
const MAX_BODY: u64 = 64 << 20;

/// An answer that has arrived whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request's method, path and headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

/// Gets a page from inside a namespace.
///
/// # Errors
///
/// When there is no answer in time, or what answers does not speak HTTP.
pub fn get(netns: &Netns, address: SocketAddr, target: &str) -> Result<Answer> {
    let request = Request {
        method: "GET",
        target,
        headers: &[],
    };
    send(netns, address, request, &mut io::empty(), 0)
}

/// Sends one request with a body of `length` bytes and reads the answer.
pub(crate) fn send(
    netns: &Netns,
    address: SocketAddr,
    request: Request<'_>,
    body: &mut dyn Read,
    length: u64,
) -> Result<Answer> {
    let Request { method, target, .. } = request;
    let stream = connect(netns, address)?;
    exchange(stream, address, request, body, length)
        .with_context(|| format!("{method} http://{address}{target}"))
}

/// A connection on which no side is silent for ever.
pub(crate) fn connect(netns: &Netns, address: SocketAddr) -> Result<TcpStream> {
    let stream = netns.connect(address, CONNECT)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// Sends one request on a connection of its own and reads the answer.
pub(crate) fn exchange(
    mut stream: impl Read + Write,
    address: SocketAddr,
    request: Request<'_>,
    body: &mut dyn Read,
    length: u64,
) -> Result<Answer> {
    let mut head = vec![
        format!("{} {} HTTP/1.1", request.method, request.target),
        format!("Host: {address}"),
        format!("Content-Length: {length}"),
        "Connection: close".to_owned(),
    ];
    head.extend(
        request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    let head = head.join("\r\n") + "\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    io::copy(body, &mut stream).context("sending the body")?;
    read_answer(&mut BufReader::new(stream), request.method)
}

fn read_answer(stream: &mut impl BufRead, method: &str) -> Result<Answer> {
    let status_line = read_line(stream)?;
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not an HTTP/1.1 answer: {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            ensure!(line.is_empty(), "not a header line: {line:?}");
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    if method != "HEAD" {
        answer.body = read_body(stream, &answer)?;
    }
    Ok(answer)
}

fn read_body(stream: &mut impl BufRead, answer: &Answer) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = read_line(stream)?;
            let size = u64::from_str_radix(size.trim(), 16).context("the size of a chunk")?;
            ensure!(size <= MAX_BODY, "a chunk of {size} bytes");
            stream.take(size).read_to_end(&mut body)?;
            read_line(stream)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    stream
        .take(MAX_BODY)
        .read_to_end(&mut body)
        .context("reading the body")?;
    if let Some(length) = answer.header("content-length") {
        ensure!(
            length == body.len().to_string(),
            "{} bytes of {length}",
            body.len()
        );
    }
    Ok(body)
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream
        .take(MAX_HEAD_LINE)
        .read_line(&mut line)
        .context("reading the head")?;
    if !line.ends_with('\n') {
        bail!("the answer ended in its head");
    }
    Ok(line.trim_end().to_owned())
}

impl Answer {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
