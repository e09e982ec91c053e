//! Decisions read from the bytes that the fuzzer gives.

/// What is left of the bytes. Where they have ended, all that is read is zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number of as many bytes.
    pub(crate) fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// A number that is small, near the largest, or anything: what arithmetic fails at.
    pub(crate) fn wide(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => self.number(1),
            1 => self.number(4),
            2 => u64::MAX - self.number(2),
            _ => self.number(8),
        }
    }

    /// One of these.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let at = usize::from(self.byte()) % of.len();
        *of.get(at).expect("it is within")
    }

    /// At most as many bytes.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The rest.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The rest as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }
}
