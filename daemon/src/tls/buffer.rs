//! Bytes that wait between a socket and a TLS session.

/// Bytes in their order: put in at the end, taken from the front.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Room behind what is there, of `least` bytes at least.
    pub(super) fn room(&mut self, least: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < least {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.bytes.len() - self.end < least {
                self.bytes.resize(self.end + least, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// The first `count` bytes of the room are filled.
    pub(super) fn add(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }

    /// Copies bytes in.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room(bytes.len()).get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.add(bytes.len());
    }

    /// The first `count` bytes are done with.
    pub(super) fn take(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Moves as many bytes as fit into `room`, and gives how many.
    pub(super) fn give(&mut self, room: &mut [u8]) -> usize {
        let count = self.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), self.filled().get(..count)) {
            to.copy_from_slice(from);
        }
        self.take(count);
        count
    }

    /// Returns the memory, where nothing waits.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}
