//! Ends a connection so that the other side reads all that was sent: with FIN, never with RST.

use std::{io, time::Duration};

use daemon::tls::Socket;

/// How long the other side may take to end its half.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that are read and thrown away meanwhile.
const MAX_DISCARDED: usize = 1 << 20;

/// Shuts the writing half and reads what is left until the other side closes; then the caller drops
/// the socket. Closing with unread bytes would send RST, upon which containerd fails the pull.
pub(crate) async fn finish(socket: &Socket) {
    if socket.shut().is_err() {
        return;
    }
    // Nothing follows either way, so the deadline is an end like the others.
    let _ = tokio::time::timeout(LINGER, discard(socket)).await;
}

async fn discard(socket: &Socket) -> io::Result<()> {
    let mut room = [0; 4096];
    let mut read = 0;
    while read < MAX_DISCARDED {
        socket.readable().await?;
        match socket.try_read(&mut room) {
            Ok(0) => return Ok(()),
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
