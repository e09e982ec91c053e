//! Telling a FIN from a byte of payload.
//!
//! A FIN takes one sequence number, so the kernel's `bytes_received` and `bytes_acked` each count it
//! as a byte. When that happens depends on how the connection ends, and no state of the socket says
//! it in time: the acknowledgement of a FIN that came in is sent before the state changes. The
//! sequence numbers do say it. A FIN is the last thing in its direction, so it has been counted
//! exactly when the number that follows it is the one the socket has come to.

/// Bits of the TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Tcp {
    /// The flag that ends a direction.
    pub const FIN: u32 = 0x01;
}

/// Marks a known end; above the 32 bits of a sequence number.
const KNOWN: u64 = 1 << 32;

/// The FIN of one direction of one connection, once a segment carried it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fin {
    end: u64,
}

impl Fin {
    /// A segment that begins at `sequence` and carries `payload` bytes and a FIN was seen coming in,
    /// perhaps ahead of what is missing before it.
    #[inline]
    pub fn comes(&mut self, sequence: u32, payload: u32) {
        self.end = end(sequence, payload);
    }

    /// A segment with `payload` bytes and a FIN is about to go out, while `next` is the first
    /// sequence number never sent.
    ///
    /// It may be refused on its way down and be tried again, in other pieces; or it is a
    /// retransmission, and then `next` has passed the FIN already.
    #[inline]
    pub fn goes(&mut self, next: u32, payload: u32) {
        if self.taken(next) == 0 {
            self.end = end(next, payload);
        }
    }

    /// How many of the bytes counted up to sequence number `at` are this FIN: none or one.
    #[inline]
    pub fn taken(self, at: u32) -> u64 {
        u64::from(self.end == KNOWN | u64::from(at))
    }
}

#[inline]
fn end(sequence: u32, payload: u32) -> u64 {
    KNOWN | u64::from(sequence.wrapping_add(payload).wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_before_a_fin_was_seen() {
        assert_eq!(Fin::default().taken(0), 0);
    }

    #[test]
    fn one_byte_is_taken_when_the_socket_has_come_to_the_end() {
        let mut fin = Fin::default();
        fin.comes(u32::MAX, 10);
        assert_eq!(fin.taken(9), 0);
        assert_eq!(fin.taken(10), 1);
    }

    #[test]
    fn a_retransmission_does_not_move_the_end() {
        let mut fin = Fin::default();
        fin.goes(100, 50);
        fin.goes(151, 50);
        fin.goes(151, 0);
        assert_eq!(fin.taken(151), 1);
    }

    #[test]
    fn a_fin_refused_on_its_way_down_may_go_with_other_payload() {
        let mut fin = Fin::default();
        fin.goes(100, 50);
        assert_eq!(fin.taken(100), 0);
        fin.goes(130, 20);
        assert_eq!(fin.taken(151), 1);
    }
}
