//! Frames: what lies in a ring.
//!
//! ```text
//! word 0   length of the payload in bytes (16 bits), kind (8), flags (8), CRC-32C (32)
//! word 1   sequence
//! word 2-  payload, filled up with zeros to whole words
//! ```
//!
//! The checksum covers every word of the frame, with zeros in its own place. A frame is published
//! whole or not at all, and a message larger than one frame goes as several, all but the last
//! with [`MORE`] set.

use thiserror::Error;

use crate::ring::{Consumer, Ring};

/// Bytes of the header.
const HEADER: usize = 16;

/// The largest payload of one frame: a frame is at most 64 KiB.
pub(crate) const MAX_PAYLOAD: usize = 65_536 - HEADER;

/// The largest command. The largest that there is, a filter with as many rules as there are
/// counters, has half of it.
pub(crate) const MAX_COMMAND: usize = 16 << 20;

/// The largest message to the control process: a state with two million routes. Tests reach a
/// lower one sooner.
pub(crate) const MAX_REPLY: usize = if cfg!(test) { 64 << 20 } else { 256 << 20 };

/// Flag: the message goes on in the next frame.
const MORE: u8 = 1;

/// What is wrong with what the other end sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The indices of a ring contradict each other.
    #[error("a ring of {capacity} words claims to hold {used}")]
    Indices {
        /// Words in use.
        used: u64,
        /// Words that there are.
        capacity: u64,
    },
    /// A frame was published before it was whole.
    #[error("a frame of {length} words of which {published} are published")]
    Partial {
        /// Words of the frame.
        length: usize,
        /// Words that there are.
        published: usize,
    },
    /// A frame carries nothing.
    #[error("a frame without payload")]
    Empty,
    /// The checksum is wrong.
    #[error("a frame whose checksum is {found:#010x} and should be {computed:#010x}")]
    Checksum {
        /// What the frame says.
        found: u32,
        /// What its words say.
        computed: u32,
    },
    /// A frame of a kind that does not exist or does not go this way.
    #[error("a frame of kind {0}, which does not belong here")]
    Kind(u8),
    /// A frame with flags that do not exist.
    #[error("a frame with flags {0:#04x}, which are not known")]
    Flags(u8),
    /// A sequence number of another session, or out of turn.
    #[error("a frame with sequence {found:#x} where {expected:#x} is due")]
    Sequence {
        /// What the frame says.
        found: u64,
        /// What should have come.
        expected: u64,
    },
    /// A message began before the last one was whole.
    #[error("a message inside another message")]
    Interleaved,
    /// A message is too large.
    #[error("a message of more than {limit} bytes")]
    TooLarge {
        /// The largest that is accepted.
        limit: usize,
    },
    /// A whole message is not one that this release knows.
    #[error("a {0} that cannot be decoded")]
    Message(&'static str),
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// From the control process.
    Command = 1,
    /// To the control process, one for each command.
    Reply = 2,
    /// To the control process, unasked.
    Notice = 3,
}

impl Kind {
    /// The largest message of the kind.
    pub(crate) const fn limit(self) -> usize {
        match self {
            Kind::Command => MAX_COMMAND,
            Kind::Reply | Kind::Notice => MAX_REPLY,
        }
    }

    /// The kind's name in errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Command => "command",
            Kind::Reply => "reply",
            Kind::Notice => "notice",
        }
    }

    fn from_number(number: u8) -> Result<Kind, Malformed> {
        [Kind::Command, Kind::Reply, Kind::Notice]
            .into_iter()
            .find(|&kind| kind as u8 == number)
            .ok_or(Malformed::Kind(number))
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) more: bool,
    pub(crate) sequence: u64,
}

/// Words that a frame with so much payload takes.
pub(crate) const fn words(payload: usize) -> usize {
    (HEADER + payload).div_ceil(8)
}

/// Makes a frame in `frame`. The payload is neither empty nor over [`MAX_PAYLOAD`].
pub(crate) fn encode(header: Header, payload: &[u8], frame: &mut Vec<u64>) {
    debug_assert!((1..=MAX_PAYLOAD).contains(&payload.len()));
    let flags = if header.more { MORE } else { 0 };
    let first = payload.len() as u64 | u64::from(header.kind as u8) << 16 | u64::from(flags) << 24;
    frame.clear();
    frame.extend([first, header.sequence]);
    frame.extend(payload.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    }));
    frame[0] |= u64::from(checksum(frame)) << 32;
}

/// Takes the next frame out of the ring, if there is one, and appends its payload to `message`.
/// `frame` is scratch: everything is copied there once, and only the copy is looked at.
pub(crate) fn take(
    consumer: &mut Consumer,
    ring: Ring<'_>,
    frame: &mut Vec<u64>,
    message: &mut Vec<u8>,
) -> Result<Option<Header>, Malformed> {
    let published = consumer.filled(ring)?;
    if published == 0 {
        return Ok(None);
    }
    let first = consumer.peek(ring, 0);
    let [length_low, length_high, kind, flags, ..] = first.to_le_bytes();
    let payload = usize::from(u16::from_le_bytes([length_low, length_high]));
    let length = words(payload);
    if length > published {
        return Err(Malformed::Partial { length, published });
    }
    frame.clear();
    frame.push(first & u64::from(u32::MAX));
    frame.extend((1..length).map(|offset| consumer.peek(ring, offset)));
    consumer.release(ring, length);

    let (found, computed) = ((first >> 32) as u32, checksum(frame));
    // A fuzzer cannot guess checksums, and is to get further than this.
    if found != computed && !cfg!(fuzzing) {
        return Err(Malformed::Checksum { found, computed });
    }
    if payload == 0 {
        return Err(Malformed::Empty);
    }
    if flags & !MORE != 0 {
        return Err(Malformed::Flags(flags));
    }
    let header =
        Header { kind: Kind::from_number(kind)?, more: flags & MORE != 0, sequence: frame[1] };
    let limit = header.kind.limit();
    if message.len() + payload > limit {
        return Err(Malformed::TooLarge { limit });
    }
    let end = message.len() + payload;
    message.extend(frame[2..].iter().flat_map(|word| word.to_le_bytes()));
    message.truncate(end);
    Ok(Some(header))
}

/// CRC-32C over a frame whose checksum is zero.
fn checksum(frame: &[u64]) -> u32 {
    // In blocks, because the CRC instructions like long runs.
    let mut bytes = [0; 512];
    frame.chunks(bytes.len() / 8).fold(0, |crc, block| {
        for (place, word) in bytes.chunks_exact_mut(8).zip(block) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        crc32c::crc32c_append(crc, &bytes[..block.len() * 8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Producer;
    use crate::ring::tests::Memory;

    const HEADER: Header = Header { kind: Kind::Command, more: true, sequence: 0x1_0000_0001 };

    fn take(memory: &Memory) -> (Result<Option<Header>, Malformed>, Vec<u8>) {
        let mut message = Vec::new();
        let mut consumer = Consumer::default();
        let header = super::take(&mut consumer, memory.ring(), &mut Vec::new(), &mut message);
        (header, message)
    }

    fn with(frame: &[u64]) -> Memory {
        let memory = Memory::new(16_384);
        assert!(Producer::default().push(memory.ring(), frame).unwrap());
        memory
    }

    #[test]
    fn frames_of_every_length_come_back() {
        let mut frame = Vec::new();
        for length in (1..100).chain([MAX_PAYLOAD - 1, MAX_PAYLOAD]) {
            let payload: Vec<u8> = (0..length).map(|n| n as u8 | 1).collect();
            encode(HEADER, &payload, &mut frame);
            assert_eq!(frame.len(), words(length));
            assert_eq!(take(&with(&frame)), (Ok(Some(HEADER)), payload));
        }
        assert_eq!(take(&Memory::new(16)), (Ok(None), Vec::new()));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let mut frame = Vec::new();
        encode(HEADER, b"thirteen byte", &mut frame);
        for word in 0..frame.len() {
            for bit in 0..64 {
                let mut wrong = frame.clone();
                wrong[word] ^= 1 << bit;
                let (result, message) = take(&with(&wrong));
                assert!(result.is_err(), "word {word}, bit {bit}: {result:?}");
                assert_eq!(message, b"");
            }
        }
    }

    #[test]
    fn what_no_honest_end_writes_is_refused_by_name() {
        let seal = |first: u64, rest: &[u64]| {
            let mut frame = vec![first, HEADER.sequence];
            frame.extend(rest);
            frame[0] |= u64::from(checksum(&frame)) << 32;
            take(&with(&frame)).0.unwrap_err()
        };
        assert_eq!(seal(1 << 16, &[]), Malformed::Empty);
        assert_eq!(seal(8 | 1 << 16, &[]), Malformed::Partial { length: 3, published: 2 });
        assert_eq!(seal(8 | 1 << 16 | 2 << 24, &[0]), Malformed::Flags(2));
        assert_eq!(seal(8 | 9 << 16, &[0]), Malformed::Kind(9));

        let memory = Memory::new(16);
        memory.head.store(17, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(take(&memory).0, Err(Malformed::Indices { used: 17, capacity: 16 }));
    }
}
