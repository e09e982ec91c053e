//! HTTP by hand, for what no client would send.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Sends the text; gives all that comes back until the server closes.
pub(crate) async fn exchange(server: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("it is sent");
    answer(&mut stream).await
}

/// All that comes until the server closes.
pub(crate) async fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(15), stream.read_to_end(&mut all)).await;
    // A server that closes on bytes it has not read resets the connection.
    let _ = read.expect("the server closes");
    String::from_utf8_lossy(&all).into_owned()
}
