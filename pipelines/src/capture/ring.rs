//! The way of captured packets from a worker to the agent: a ring of bytes with one writer and one
//! reader, in which each packet is one record that is published whole.
//!
//! Neither end waits. What does not fit is not captured, and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_hooks::Direction;
use sluice_policy::DropReason;

/// Bytes of a record ahead of its names: time (8), length (4), captured bytes (4), reason (2),
/// direction (1), lengths of the names (4), one to spare.
const HEADER: usize = 24;

/// In the place of a reason: there is none.
const NONE: u16 = u16::MAX;

/// What is noted of a packet beside its bytes. A name that is empty is none.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// When: the time-stamp counter, in cycles.
    pub tsc: u64,
    /// Where it was seen.
    pub direction: Direction,
    /// Why it was dropped, if it was.
    pub dropped: Option<DropReason>,
    /// Bytes of the frame.
    pub length: usize,
    /// The instance in which it was seen, the interface, the instances that it came from and went
    /// to.
    pub names: [&'a str; 4],
}

/// A packet that was captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// When: the time-stamp counter, in cycles.
    pub tsc: u64,
    /// Where it was seen.
    pub direction: Direction,
    /// Why it was dropped, if it was.
    pub dropped: Option<DropReason>,
    /// Bytes of the frame.
    pub length: u32,
    /// As in [`Note::names`].
    pub names: [String; 4],
    /// The first bytes of the frame.
    pub bytes: Vec<u8>,
}

/// A worker's end.
pub struct Writer {
    ring: Producer<u8>,
    missed: Arc<AtomicU64>,
    snaplen: usize,
}

/// The agent's end.
pub struct Reader {
    ring: Consumer<u8>,
    missed: Arc<AtomicU64>,
    /// The next record, once it was looked at.
    next: Option<Record>,
}

/// A ring of so many bytes, for packets of which at most `snaplen` bytes are kept.
#[must_use]
pub fn ring(bytes: usize, snaplen: usize) -> (Writer, Reader) {
    let (mut write, mut read) = RingBuffer::new(bytes);
    // Memory that was never touched would have the worker call the kernel for it.
    if let Ok(chunk) = write.write_chunk(bytes) {
        chunk.commit_all();
    }
    if let Ok(chunk) = read.read_chunk(bytes) {
        chunk.commit_all();
    }
    let missed = Arc::new(AtomicU64::new(0));
    let writer = Writer { ring: write, missed: Arc::clone(&missed), snaplen };
    (writer, Reader { ring: read, missed, next: None })
}

impl Writer {
    /// Copies a packet, or counts it if there is no room. `frame` is the frame in pieces.
    pub fn push<'a>(&mut self, note: &Note<'_>, frame: impl Iterator<Item = &'a [u8]>) {
        let names = note.names.map(|name| &name.as_bytes()[..name.len().min(u8::MAX.into())]);
        let captured = note.length.min(self.snaplen);
        let bytes = HEADER + names.iter().map(|name| name.len()).sum::<usize>() + captured;
        let Ok(mut chunk) = self.ring.write_chunk(bytes) else {
            // Nobody else writes it.
            self.missed.store(self.missed.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return;
        };
        let (front, back) = chunk.as_mut_slices();
        let mut room = Room { front, back };
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&note.tsc.to_ne_bytes());
        header[8..12].copy_from_slice(&(note.length as u32).to_ne_bytes());
        header[12..16].copy_from_slice(&(captured as u32).to_ne_bytes());
        let reason = note.dropped.map_or(NONE, |reason| reason.index() as u16);
        header[16..18].copy_from_slice(&reason.to_ne_bytes());
        header[18] = note.direction as u8;
        for (place, name) in header[19..23].iter_mut().zip(names) {
            *place = name.len() as u8;
        }
        room.put(&header);
        names.iter().for_each(|name| room.put(name));
        let mut left = captured;
        for piece in frame {
            let piece = &piece[..piece.len().min(left)];
            room.put(piece);
            left -= piece.len();
        }
        chunk.commit_all();
    }
}

impl Reader {
    /// When the next packet was captured, if there is one.
    pub fn time(&mut self) -> Option<u64> {
        if self.next.is_none() {
            self.next = self.read();
        }
        self.next.as_ref().map(|record| record.tsc)
    }

    /// The next packet.
    pub fn take(&mut self) -> Option<Record> {
        self.next.take().or_else(|| self.read())
    }

    /// Packets for which there was no room.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn read(&mut self) -> Option<Record> {
        let mut header = [0; HEADER];
        self.ring.pop_entire_slice(&mut header).ok()?;
        let tsc = u64::from_ne_bytes(*header.first_chunk()?);
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|n| header[at + n]));
        let (length, captured) = (word(8), word(12));
        let reason = u16::from_ne_bytes([header[16], header[17]]);
        let direction = [Direction::Inbound, Direction::Outbound, Direction::Local];
        let direction = direction.into_iter().find(|known| *known as u8 == header[18]);
        let mut text = |length: u8| {
            let mut bytes = vec![0; length.into()];
            self.ring.pop_entire_slice(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let names = [text(header[19])?, text(header[20])?, text(header[21])?, text(header[22])?];
        let mut bytes = vec![0; captured as usize];
        self.ring.pop_entire_slice(&mut bytes).ok()?;
        Some(Record {
            tsc,
            direction: direction.unwrap_or(Direction::Dropped),
            dropped: DropReason::ALL.iter().copied().find(|r| r.index() == usize::from(reason)),
            length,
            names,
            bytes,
        })
    }
}

/// Where a record goes: to the end of the ring and on at its beginning.
struct Room<'a> {
    front: &'a mut [u8],
    back: &'a mut [u8],
}

impl Room<'_> {
    fn put(&mut self, bytes: &[u8]) {
        // A slice takes what it has room for, and the two have room for the record.
        let taken = self.front.write(bytes).unwrap_or(0);
        let _ = self.back.write(&bytes[taken..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(length: usize, name: &str) -> Note<'_> {
        let names = ["default", name, "", "blue"];
        let dropped = Some(DropReason::NoRoute);
        Note { tsc: 7, direction: Direction::Dropped, dropped, length, names }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_leaves_no_trace() {
        let (mut writer, mut reader) = ring(100, 60);
        let frame = [1; 60];
        for missed in 0..3 {
            writer.push(&note(60, ""), [&frame[..]].into_iter());
            assert_eq!(reader.missed(), missed);
        }
        assert_eq!(reader.take().map(|record| record.bytes), Some(frame.to_vec()));
        assert_eq!(reader.take(), None);
        writer.push(&note(4, "lan"), [&[1, 2][..], &[3, 4]].into_iter());
        let record = reader.take().unwrap();
        assert_eq!((record.length, &record.bytes[..]), (4, &[1, 2, 3, 4][..]));
        assert_eq!(record.names, ["default", "lan", "", "blue"]);
        assert_eq!(record.dropped, Some(DropReason::NoRoute));
        assert_eq!(record.direction, Direction::Dropped);
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in(
            frames in prop::collection::vec(
                (prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4), "[a-z]{0,9}"),
                1..60,
            ),
            snaplen in 0usize..80,
        ) {
            // The ring is so small that records go round its end.
            let (mut writer, mut reader) = ring(300, snaplen);
            for (pieces, name) in frames {
                let whole = pieces.concat();
                writer.push(&note(whole.len(), &name), pieces.iter().map(Vec::as_slice));
                prop_assert_eq!(reader.time(), Some(7));
                let record = reader.take().unwrap();
                prop_assert_eq!(record.length as usize, whole.len());
                prop_assert_eq!(&record.bytes[..], &whole[..whole.len().min(snaplen)]);
                prop_assert_eq!(&record.names[1], &name);
            }
            prop_assert_eq!((reader.take(), reader.missed()), (None, 0));
        }
    }
}
