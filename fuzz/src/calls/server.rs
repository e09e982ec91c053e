//! A server over a file, called on one connection.

use std::{net::SocketAddr, time::Duration};

use clap::Parser as _;
use daemon::{
    clock::Clock,
    readiness::Readiness,
    scope::{Deaths, Scope},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use piccolo_server::{
    app::{self, Host},
    config::Cli,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};

use crate::stand::runtime;

/// No call takes as long.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    runtime: Runtime,
    addr: SocketAddr,
    stream: Option<TcpStream>,
    _directory: TempDir,
    _deaths: Deaths,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let runtime = runtime();
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().to_str().expect("a path").to_owned();
        let (scope, deaths) = Scope::new();
        let addr = runtime.block_on(async {
            let cli = Cli::try_parse_from([
                "piccolo-server",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                &format!("--state-dir={state}"),
            ]);
            let host = Host {
                scope,
                readiness: Readiness::default(),
                metrics: PrometheusBuilder::new().build_recorder().handle(),
                clock: Clock::manual(Duration::from_hours(480_000)),
                instance: 1,
            };
            let app = app::build(cli.expect("flags").serve, host)
                .await
                .expect("it starts");
            let addr = app.api;
            app.run();
            addr
        });
        Self {
            runtime,
            addr,
            stream: None,
            _directory: directory,
            _deaths: deaths,
        }
    }

    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Reply {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.call(&[head.as_bytes(), body].concat())
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.call(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    fn call(&mut self, request: &[u8]) -> Reply {
        let Self {
            runtime,
            addr,
            stream,
            ..
        } = self;
        let called = async {
            let mut link = match stream.take() {
                Some(link) => link,
                None => TcpStream::connect(*addr).await.expect("a connection"),
            };
            link.write_all(request).await.expect("it is read");
            let (reply, stays) = receive(&mut link).await;
            *stream = stays.then_some(link);
            reply
        };
        runtime.block_on(async { timeout(DEADLINE, called).await.expect("an answer") })
    }
}

/// Reads a reply; gives whether the connection stays open.
async fn receive(stream: &mut TcpStream) -> (Reply, bool) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let read = stream.read_buf(&mut bytes).await.expect("a reply");
        assert_ne!(
            read,
            0,
            "a reply that ends: {:?}",
            String::from_utf8_lossy(&bytes)
        );
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    while bytes.len() < head + length {
        assert_ne!(
            stream.read_buf(&mut bytes).await.expect("a body"),
            0,
            "a body that ends"
        );
    }
    let reply = Reply {
        status: text[9..12].parse().expect("a status"),
        body: String::from_utf8_lossy(&bytes[head..]).into_owned(),
    };
    (reply, !text.contains("connection: close"))
}
