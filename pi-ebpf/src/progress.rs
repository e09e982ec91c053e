//! Progress of a socket, in the kernel's sequence numbers.

/// Progress of a socket in the kernel's sequence numbers, which count FINs and the SYN.
///
/// Each call costs the kernel some time, so callers ask only for what they need.
pub trait Progress {
    /// Sequence numbers received in order.
    fn bytes_received(&self) -> u64;

    /// The sequence number expected next.
    fn receive_next(&self) -> u32;

    /// Sequence numbers acknowledged by the peer.
    fn bytes_acked(&self) -> u64;

    /// The first sequence number not acknowledged.
    fn send_unacked(&self) -> u32;

    /// The first sequence number never sent.
    fn send_next(&self) -> u32;

    /// The largest amount of data that may be in flight, in bytes.
    fn window(&self) -> u64;

    /// Whether another callback is sure to come soon, because data is in flight.
    fn goes_on(&self) -> bool;

    /// The kernel's clock, which is coarse and cheap.
    fn ticks(&self) -> u64;
}

/// A socket's [`Progress`], known beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// [`Progress::bytes_received`].
    pub bytes_received: u64,
    /// [`Progress::receive_next`].
    pub receive_next: u32,
    /// [`Progress::bytes_acked`].
    pub bytes_acked: u64,
    /// [`Progress::send_unacked`].
    pub send_unacked: u32,
    /// [`Progress::send_next`].
    pub send_next: u32,
    /// [`Progress::window`].
    pub window: u64,
    /// [`Progress::goes_on`].
    pub goes_on: bool,
    /// [`Progress::ticks`].
    pub ticks: u64,
}

impl Progress for Position {
    fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    fn receive_next(&self) -> u32 {
        self.receive_next
    }

    fn bytes_acked(&self) -> u64 {
        self.bytes_acked
    }

    fn send_unacked(&self) -> u32 {
        self.send_unacked
    }

    fn send_next(&self) -> u32 {
        self.send_next
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn goes_on(&self) -> bool {
        self.goes_on
    }

    fn ticks(&self) -> u64 {
        self.ticks
    }
}
