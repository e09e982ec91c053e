//! A puller: asks as containerd does, and sees how replies end.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Nothing in a test takes longer.
const DEADLINE: Duration = Duration::from_secs(20);

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
        bytes.drain(..head);
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
    assert_eq!(reply.field("Transfer-Encoding"), None);
    let length = reply
        .field("Content-Length")
        .expect("a length")
        .parse::<usize>()
        .unwrap();
    while method != "HEAD" && reply.body.len() < length {
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
    reply
}
