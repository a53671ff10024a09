//! Prefixes by what they lead to.
//!
//! Each level keeps its prefixes in lists of eight bytes each, so that to look at all of a million takes
//! a few milliseconds: an index would cost every change, and memory.

use super::Leaf;

/// Prefixes that are looked for, while the levels of a table are gone through.
pub(super) struct Search<'a> {
    /// Which leaves are looked for.
    pub(super) is: &'a dyn Fn(Leaf) -> bool,
    /// What is found: the address's bytes, and the length.
    pub(super) found: &'a mut dyn FnMut(&[u8; 16], u8),
    path: [u8; 16],
    bytes: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        is: &'a dyn Fn(Leaf) -> bool,
        found: &'a mut dyn FnMut(&[u8; 16], u8),
    ) -> Search<'a> {
        Search { is, found, path: [0; 16], bytes: 0 }
    }

    /// Goes one byte down.
    pub(super) fn behind(&mut self, byte: u8, below: impl FnOnce(&mut Self)) {
        self.path[self.bytes] = byte;
        self.bytes += 1;
        below(self);
        self.bytes -= 1;
        self.path[self.bytes] = 0;
    }

    /// A prefix of the byte that comes next.
    pub(super) fn hit(&mut self, bits: u8, length: u8) {
        let mut address = self.path;
        if length > 0 {
            address[self.bytes] = bits;
        }
        (self.found)(&address, 8 * self.bytes as u8 + length);
    }
}
