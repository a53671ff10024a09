//! A digest of any value that is the same in every process and build: 64-bit FNV-1a (RFC 9923)
//! over its postcard encoding, in which maps are ordered.

use std::io;

use serde::Serialize;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The digest of a value.
pub(crate) fn of(value: &impl Serialize) -> u64 {
    let mut fnv = Fnv(OFFSET_BASIS);
    // Neither the writer nor the encoding of plain data can fail.
    let _ = postcard::to_io(value, &mut fnv);
    fnv.0
}

struct Fnv(u64);

impl io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_never_changes() {
        // postcard writes a byte as itself: this is FNV-1a of "a", as its authors list it.
        assert_eq!(of(&b'a'), 0xaf63_dc4c_8601_ec8c);
    }
}
