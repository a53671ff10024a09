//! The memory of one session: a header and the two rings.
//!
//! ```text
//! 0        magic, layout version, epoch, bytes of one ring
//! 128      head of the ring down (commands)      each index on a line of its own
//! 256      its tail
//! 384      head of the ring up (replies, notices)
//! 512      its tail
//! 4096     the ring down
//! 4096+1M  the ring up
//! ```
//!
//! Each session has memory of its own, made when a control process attaches. So the rings of a
//! new session are empty because they are new, and a process of an earlier session that still has
//! its mapping can write to it for ever and nobody looks.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use crate::ChannelError;
use crate::mapping::Mapping;
use crate::ring::Ring;

/// First word of a session's memory: `sluicerg`.
const MAGIC: u64 = u64::from_le_bytes(*b"sluicerg");

/// Changes whenever the layout here, the frames or the greeting change.
pub(crate) const LAYOUT: u32 = 2;

/// Words of one ring.
const RING: usize = (1 << 20) / 8;

/// First word of the first ring.
const RINGS: usize = 4096 / 8;

/// Words between two indices.
const LINE: usize = 128 / 8;

/// Bytes of it all.
const BYTES: usize = (RINGS + 2 * RING) * 8;

/// The memory of one session.
#[derive(Debug)]
pub(crate) struct Segment(Mapping);

impl Segment {
    /// Makes the memory of a new session.
    pub(crate) fn create(epoch: u32) -> Result<(Segment, OwnedFd), ChannelError> {
        let (mapping, file) = Mapping::create("sluice-channel", BYTES)?;
        for (word, value) in mapping.words().iter().zip(header(epoch)) {
            word.store(value, Ordering::Release);
        }
        Ok((Segment(mapping), file))
    }

    /// Maps what the other end made.
    pub(crate) fn open(file: impl AsFd, epoch: u32) -> Result<Segment, ChannelError> {
        let mapping = Mapping::shared(file, BYTES)?;
        let found = mapping.words().iter().map(|word| word.load(Ordering::Acquire));
        if !found.take(4).eq(header(epoch)) {
            return Err(ChannelError::Segment);
        }
        Ok(Segment(mapping))
    }

    /// The ring from the control process to the dataplane.
    pub(crate) fn down(&self) -> Ring<'_> {
        self.ring(0)
    }

    /// The ring from the dataplane to the control process.
    pub(crate) fn up(&self) -> Ring<'_> {
        self.ring(1)
    }

    fn ring(&self, number: usize) -> Ring<'_> {
        let words = self.0.words();
        let head = LINE * (1 + 2 * number);
        let data = &words[RINGS + number * RING..][..RING];
        Ring { head: &words[head], tail: &words[head + LINE], data }
    }
}

fn header(epoch: u32) -> [u64; 4] {
    [MAGIC, LAYOUT.into(), epoch.into(), (RING * 8) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_see_the_same_two_rings() {
        let (ours, file) = Segment::create(7).unwrap();
        let theirs = Segment::open(&file, 7).unwrap();
        for (n, (ours, theirs)) in
            [(ours.down(), theirs.down()), (ours.up(), theirs.up())].into_iter().enumerate()
        {
            let n = n as u64 + 1;
            ours.head.store(n, Ordering::Relaxed);
            ours.tail.store(10 * n, Ordering::Relaxed);
            ours.data.iter().for_each(|word| word.store(n, Ordering::Relaxed));
            assert_eq!(theirs.head.load(Ordering::Relaxed), n);
            assert_eq!(theirs.tail.load(Ordering::Relaxed), 10 * n);
            assert!(theirs.data.iter().all(|word| word.load(Ordering::Relaxed) == n));
            assert_eq!(theirs.data.len() * 8, 1 << 20);
        }
        assert_eq!(theirs.down().head.load(Ordering::Relaxed), 1, "nothing overlaps");
        assert!(theirs.down().data.iter().all(|word| word.load(Ordering::Relaxed) == 1));
        assert!(matches!(Segment::open(&file, 8), Err(ChannelError::Segment)));
    }
}
