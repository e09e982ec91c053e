//! A puller: asks as containerd does, and sees how replies end.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// What ends a body that comes in one chunk.
const LAST: &[u8] = b"\r\n0\r\n\r\n";
/// Nothing in a test takes longer.
const DEADLINE: Duration = Duration::from_mins(1);

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// After as many bytes as the head says.
    Complete,
    /// Early, with FIN.
    Fin,
    /// Early, with RST, upon which containerd fails a pull.
    Rst,
}

impl Reply {
    /// A field of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends one request and reads the reply to its end.
pub(crate) async fn request(to: SocketAddr, method: &str, path: &str, fields: &str) -> Reply {
    let mut stream = TcpStream::connect(to).await.unwrap();
    send(&mut stream, method, path, fields).await;
    receive(&mut stream, method).await
}

/// Asks for an object from `start` on, reads `most` bytes and breaks off, as containerd 2 does with
/// each of several ranges.
pub(crate) async fn read_part(to: SocketAddr, path: String, start: usize, most: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let range = format!("Range: bytes={start}-\r\n");
    send(&mut stream, "GET", &path, &range).await;
    let read = async {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        };
        let chunked = bytes[..head].windows(7).any(|w| w == b"chunked");
        bytes.drain(..head);
        if chunked {
            let line = loop {
                if let Some(at) = bytes.windows(2).position(|w| w == b"\r\n") {
                    break at + 2;
                }
                assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
            };
            bytes.drain(..line);
        }
        while bytes.len() < most {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        }
        bytes.truncate(most);
        bytes
    };
    timeout(DEADLINE, read).await.expect("a reply hangs")
}

/// Writes a request.
pub(crate) async fn send(stream: &mut TcpStream, method: &str, path: &str, fields: &str) {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

/// Reads a reply.
pub(crate) async fn receive(stream: &mut TcpStream, method: &str) -> Reply {
    timeout(DEADLINE, read(stream, method))
        .await
        .expect("a reply hangs")
}

async fn read(stream: &mut TcpStream, method: &str) -> Reply {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let read = stream.read_buf(&mut bytes).await.unwrap();
        assert_ne!(read, 0, "no head: {:?}", String::from_utf8_lossy(&bytes));
    };
    let body = bytes.split_off(head);
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply {
        status,
        head,
        body,
        end: End::Complete,
    };
    let chunked = reply.field("Transfer-Encoding") == Some("chunked");
    let length = match reply.field("Content-Length") {
        // containerd divides a reply to an open-ended range whose length it knows.
        Some(_) if chunked => panic!("two lengths"),
        Some(length) => length.parse::<usize>().unwrap(),
        None => chunk(stream, &mut reply).await.expect("a length"),
    };
    let wanted = if chunked { length + LAST.len() } else { length };
    while method != "HEAD" && reply.body.len() < wanted {
        match stream.read_buf(&mut reply.body).await {
            Ok(0) => {
                reply.end = End::Fin;
                break;
            }
            Ok(_) => {}
            Err(_) => {
                reply.end = End::Rst;
                break;
            }
        }
    }
    if chunked && reply.end == End::Complete {
        assert_eq!(reply.body.split_off(length), LAST, "one chunk");
    }
    reply
}

/// Reads the length of the only chunk, where the body comes in one.
async fn chunk(stream: &mut TcpStream, reply: &mut Reply) -> Option<usize> {
    let end = loop {
        if let Some(at) = reply.body.windows(2).position(|w| w == b"\r\n") {
            break at;
        }
        assert_ne!(stream.read_buf(&mut reply.body).await.unwrap(), 0);
    };
    let rest = reply.body.split_off(end + 2);
    let line = std::mem::replace(&mut reply.body, rest);
    let line = std::str::from_utf8(&line).unwrap();
    usize::from_str_radix(line.trim_end(), 16).ok()
}
