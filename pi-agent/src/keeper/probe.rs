//! Probing which process answers at the mirror's address.

use std::{fmt, io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::instance::{self, Instance};

/// Longest head of an answer that is read.
const MAX_HEAD: usize = 8 << 10;

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An agent.
    Agent(Instance),
    /// Another program, or an agent that is too old to say who it is.
    Other(String),
    /// No process: a connection is refused or ends at once, which costs a pull nothing.
    Nobody(String),
    /// The connection is open and no reply comes: a pull would wait.
    Silence(Duration),
}

/// Asks the mirror at `url` over a new connection, since an open one leads to the process that
/// accepted it.
pub async fn ask(url: &str, deadline: Duration) -> Answer {
    match tokio::time::timeout(deadline, exchange(url)).await {
        Err(_) => Answer::Silence(deadline),
        Ok(Err(error)) => Answer::Nobody(error.to_string()),
        Ok(Ok(head)) => read(&head),
    }
}

/// The head of the answer, as far as one came.
async fn exchange(url: &str) -> io::Result<Vec<u8>> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "the URL is not understood");
    let uri: http::Uri = url.parse().map_err(invalid)?;
    let host = uri.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(80);
    let mut stream = TcpStream::connect((name, port)).await?;
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while head.len() < MAX_HEAD && !ends(&head) {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    if head.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended without an answer",
        ));
    }
    Ok(head)
}

fn ends(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

fn read(head: &[u8]) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(head);
    let Ok(httparse::Status::Complete(_)) = parsed else {
        return Answer::Other("what answers there speaks no HTTP".to_owned());
    };
    let status = response.code.unwrap_or_default();
    let named = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(instance::FIELD))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    match named {
        Some(instance) if status == 200 => Answer::Agent(instance),
        _ => Answer::Other(format!(
            "what answers there (status {status}) does not say that it is an agent"
        )),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(instance) => write!(f, "agent {instance} answers"),
            Self::Other(what) => f.write_str(what),
            Self::Nobody(why) => write!(f, "no agent answers: {why}"),
            Self::Silence(deadline) => write!(f, "no answer within {deadline:?}"),
        }
    }
}
