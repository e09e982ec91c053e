//! One side of a TLS session that never waits: bytes in, bytes out, and what is between them.
//!
//! It works on buffers of its own, so that a whole batch of records is one read or one write of the
//! socket. The plaintext of a record is copied twice on its way: by rustls, which decrypts and encrypts in
//! memory of its own, and between that and where it comes from or goes to. What does not fit there at once
//! is copied a third time.

use std::{fmt, io};

use rustls::{
    CommonState,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};
use tokio::net::TcpStream;

use super::buffer::Buffer;

/// Is told of the bytes that TLS adds to what is sent: handshakes, alerts, and what stands around each
/// record.
pub trait Overhead: Send + Sync + fmt::Debug {
    /// So many came.
    fn received(&self, bytes: u64);
    /// So many went.
    fn sent(&self, bytes: u64);
}

/// Nobody is told.
#[derive(Debug, Clone, Copy)]
pub struct Uncounted;

/// Plaintext that is encrypted at a time: eight records of the largest size.
const BATCH: usize = 8 * RECORD;
/// Plaintext of a record at most.
const RECORD: usize = 16 << 10;
/// Room for what a batch grows by, and for a message of TLS before it.
const SLACK: usize = 1 << 10;
/// Bytes read at a time, at first: enough for a head.
const SMALL: usize = 4 << 10;
/// Bytes read at a time at most.
const LARGE: usize = 256 << 10;

/// Which side this is.
pub(super) enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    side: Side,
    /// What came and is not decrypted yet.
    incoming: Buffer,
    /// What is decrypted and was not read yet.
    decrypted: Buffer,
    /// What is encrypted and the socket has not taken yet.
    outgoing: Buffer,
    /// Where a file is read before it is encrypted.
    scratch: Vec<u8>,
    /// Bytes of the next read.
    reading: usize,
    /// Whether nothing can be done with what came: a part of a message may be there, in whole records.
    is_hungry: bool,
    end: Option<End>,
    overhead: Box<dyn Overhead>,
}

/// How what comes has ended.
#[derive(Debug, Clone)]
enum End {
    /// The other side says that it is all.
    Clean,
    /// Something was wrong.
    Failed(rustls::Error),
}

/// What the state machine of the session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more to do.
    Again,
    /// There is nothing to do with what came.
    Hungry,
    /// What was to be encrypted is.
    Encrypted,
    /// Nothing more will come.
    Closed,
    /// Nor go.
    Gone,
}

/// What is to be encrypted.
#[derive(Debug, Clone, Copy)]
enum Say<'a> {
    Nothing,
    Plaintext(&'a [u8]),
    /// That this is all.
    Farewell,
}

/// One step of it.
struct Step {
    /// Bytes of what came that are done with.
    done: usize,
    /// Of these, plaintext.
    payload: usize,
    /// Bytes for the other side besides plaintext.
    added: usize,
    turn: Result<Turn, rustls::Error>,
}

impl Overhead for Uncounted {
    fn received(&self, _: u64) {}

    fn sent(&self, _: u64) {}
}

impl Session {
    pub(super) fn new(side: Side, overhead: Box<dyn Overhead>) -> Self {
        Self {
            side,
            incoming: Buffer::default(),
            decrypted: Buffer::default(),
            outgoing: Buffer::default(),
            scratch: Vec::new(),
            reading: SMALL,
            is_hungry: false,
            end: None,
            overhead,
        }
    }

    /// What is known of the session.
    pub(super) fn state(&self) -> &CommonState {
        match &self.side {
            Side::Client(client) => client,
            Side::Server(server) => server,
        }
    }

    /// Makes the handshake.
    pub(super) async fn handshake(&mut self, tcp: &TcpStream) -> io::Result<()> {
        loop {
            if let Err(error) = self.digest() {
                // An alert says to the other side what is wrong, if that still takes it.
                let _ = self.flush(tcp);
                return Err(error);
            }
            while !self.outgoing.is_empty() {
                match self.flush(tcp) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tcp.writable().await?;
                    }
                    flushed => flushed?,
                }
            }
            if !self.state().is_handshaking() {
                return Ok(());
            }
            tcp.readable().await?;
            match self.pull(|room| tcp.try_read(room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                pulled => pulled?,
            }
        }
    }

    /// Whether a read gives something without the socket.
    pub(super) fn has_more(&self) -> bool {
        let has_record = || !self.is_hungry && self.has_record();
        !self.decrypted.is_empty() || self.end.is_some() || has_record()
    }

    /// Bytes that came and were not read, as far as the socket has none of them any more.
    pub(super) fn held(&self) -> usize {
        self.decrypted.len() + self.incoming.len()
    }

    /// Reads what there is, with `receive` to read the socket where that is needed. Gives 0 at a clean end
    /// only: one that was cut off is an error.
    pub(super) fn read(
        &mut self,
        room: &mut [u8],
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut filled = self.decrypted.give(room);
        loop {
            while filled < room.len() && self.end.is_none() {
                let rest = room.get_mut(filled..).unwrap_or_default();
                let (count, turn) = self.advance(Some(rest), Say::Nothing);
                filled += count;
                if turn == Turn::Hungry {
                    break;
                }
            }
            if filled > 0 || room.is_empty() {
                return Ok(filled);
            }
            match &self.end {
                Some(End::Clean) => return Ok(0),
                Some(End::Failed(error)) => return Err(failed(error.clone())),
                None => self.pull(&mut receive)?,
            }
        }
    }

    /// Takes some of `bytes` as soon as the earlier ones have gone, and gives how many.
    pub(super) fn write(&mut self, tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(tcp)?;
        let batch = bytes.get(..bytes.len().min(BATCH)).unwrap_or_default();
        if !batch.is_empty() {
            self.encrypt(Say::Plaintext(batch))?;
            self.flush_some(tcp)?;
        }
        Ok(batch.len())
    }

    /// [`write`](Self::write) of what `fill` puts into the room that it is given, of `most` bytes at most.
    pub(super) fn write_with(
        &mut self,
        tcp: &TcpStream,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.flush(tcp)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(BATCH, 0);
        let room = scratch.get_mut(..most.min(BATCH)).unwrap_or_default();
        let filled = fill(room);
        let encrypted = filled.and_then(|count| {
            if count > 0 {
                self.encrypt(Say::Plaintext(scratch.get(..count).unwrap_or_default()))?;
            }
            Ok(count)
        });
        self.scratch = scratch;
        let count = encrypted?;
        self.flush_some(tcp)?;
        Ok(count)
    }

    /// Has the socket take all that is encrypted.
    pub(super) fn flush(&mut self, tcp: &TcpStream) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match tcp.try_write(self.outgoing.filled())? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.outgoing.take(count),
            }
        }
        Ok(())
    }

    /// Says to the other side that this is all.
    pub(super) fn close(&mut self) {
        // Where that cannot be said, the connection's end says it.
        let _ = self.encrypt(Say::Farewell);
    }

    /// Returns memory until more is to be read or written.
    pub(super) fn rest(&mut self) {
        self.incoming.release();
        self.decrypted.release();
        self.outgoing.release();
        self.scratch = Vec::new();
        self.reading = SMALL;
    }

    /// Has the state machine do what there is to do, with all plaintext kept.
    fn digest(&mut self) -> io::Result<()> {
        while self.end.is_none() {
            if self.advance(None, Say::Nothing).1 == Turn::Hungry {
                return Ok(());
            }
        }
        match &self.end {
            Some(End::Failed(error)) => {
                let error = error.clone();
                self.last_words();
                Err(failed(error))
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Takes the alert that tells the other side of an error.
    fn last_words(&mut self) {
        while self.state().wants_write() {
            let step = self.step(None, Say::Nothing);
            self.overhead.sent(wide(step.added));
        }
    }

    fn encrypt(&mut self, say: Say<'_>) -> io::Result<()> {
        loop {
            if let Some(End::Failed(error)) = &self.end {
                return Err(failed(error.clone()));
            }
            match self.advance(None, say).1 {
                Turn::Encrypted => return Ok(()),
                // What comes may have ended without harm to what goes.
                Turn::Again | Turn::Closed => {}
                Turn::Hungry | Turn::Gone => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// What the socket does not take now goes with the next call.
    fn flush_some(&mut self, tcp: &TcpStream) -> io::Result<()> {
        match self.flush(tcp) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Reads the socket once.
    fn pull(&mut self, mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let least = self.reading.saturating_sub(self.incoming.len()).max(SMALL);
        let room = self.incoming.room(least);
        let whole = room.len();
        match receive(room)? {
            // Somebody in between could have cut it off.
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.incoming.add(count);
                self.is_hungry = false;
                if count == whole {
                    self.reading = self.reading.saturating_mul(4).min(LARGE);
                }
                Ok(())
            }
        }
    }

    /// One step, whose plaintext goes into `room` as far as it fits. Gives how much that was.
    fn advance(&mut self, room: Option<&mut [u8]>, say: Say<'_>) -> (usize, Turn) {
        let room = room.unwrap_or_default();
        let most = room.len();
        let step = self.step(Some(room), say);
        self.incoming.take(step.done);
        let around = step.done.saturating_sub(step.payload);
        self.overhead.received(wide(around));
        self.overhead.sent(wide(step.added));
        let turn = match step.turn {
            Ok(turn) => {
                if matches!(turn, Turn::Closed | Turn::Gone) {
                    self.end.get_or_insert(End::Clean);
                }
                self.is_hungry |= turn == Turn::Hungry;
                turn
            }
            Err(error) => {
                self.end = Some(End::Failed(error));
                Turn::Closed
            }
        };
        (step.payload.min(most), turn)
    }

    fn step(&mut self, room: Option<&mut [u8]>, say: Say<'_>) -> Step {
        let mut room = room.unwrap_or_default();
        let decrypted = &mut self.decrypted;
        let keep = |payload: &[u8]| {
            let fits = payload.len().min(room.len());
            let (now, later) = payload.split_at(fits);
            let (to, rest) = std::mem::take(&mut room).split_at_mut(fits);
            to.copy_from_slice(now);
            room = rest;
            if !later.is_empty() {
                decrypted.put(later);
            }
        };
        let (incoming, outgoing) = (self.incoming.filled_mut(), &mut self.outgoing);
        match &mut self.side {
            Side::Client(client) => {
                let status = client.process_tls_records(incoming);
                handle(status, outgoing, say, keep)
            }
            Side::Server(server) => {
                let status = server.process_tls_records(incoming);
                handle(status, outgoing, say, keep)
            }
        }
    }

    /// Whether a whole record waits to be decrypted.
    fn has_record(&self) -> bool {
        let Some(&[_, _, _, high, low]) = self.incoming.filled().first_chunk::<5>() else {
            return false;
        };
        self.incoming.len() >= 5 + usize::from(u16::from_be_bytes([high, low]))
    }
}

/// Does what the state machine asks for.
fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    outgoing: &mut Buffer,
    say: Say<'_>,
    mut keep: impl FnMut(&[u8]),
) -> Step {
    let UnbufferedStatus { discard, state } = status;
    let mut step = Step {
        done: discard,
        payload: 0,
        added: 0,
        turn: Ok(Turn::Again),
    };
    match state {
        Err(error) => step.turn = Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        step.done += record.discard;
                        step.payload += record.payload.len();
                        keep(record.payload);
                    }
                    Err(error) => {
                        step.turn = Err(error);
                        break;
                    }
                }
            }
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let needed = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(short)) => short.required_size,
                Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
            };
            step.added = data.encode(outgoing.room(needed)).unwrap_or(0);
            outgoing.add(step.added);
        }
        // It is in the buffer, which keeps the order.
        Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
        Ok(ConnectionState::PeerClosed) => step.turn = Ok(Turn::Closed),
        Ok(ConnectionState::Closed) => step.turn = Ok(Turn::Gone),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let (length, encrypted) = match say {
                Say::Nothing => (0, None),
                Say::Plaintext(bytes) => {
                    let room = outgoing.room(bytes.len() + SLACK);
                    (bytes.len(), Some(traffic.encrypt(bytes, room)))
                }
                Say::Farewell => {
                    let room = outgoing.room(SLACK);
                    (0, Some(traffic.queue_close_notify(room)))
                }
            };
            step.turn = match encrypted {
                None => Ok(Turn::Hungry),
                Some(Ok(count)) => {
                    outgoing.add(count);
                    step.added = count.saturating_sub(length);
                    Ok(Turn::Encrypted)
                }
                Some(Err(_full)) => Err(rustls::Error::EncryptError),
            };
        }
        Ok(ConnectionState::BlockedHandshake) => step.turn = Ok(Turn::Hungry),
        // Early data is not offered; and there are no other states yet.
        Ok(_) => step.turn = Err(rustls::Error::General("an unexpected state".to_owned())),
    }
    step
}

fn failed(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server(_) => "Server",
        })
    }
}
