//! Messages of any size through a ring of frames: [`Sender`] cuts them up as room allows,
//! [`Receiver`] puts them together under a bound.

use std::collections::VecDeque;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{self, Header, Kind, MAX_PAYLOAD, Malformed};
use crate::ring::{Consumer, Producer, Ring};

/// A whole message.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// Encodes a message.
    pub(crate) fn new(kind: Kind, sequence: u64, content: &impl Serialize) -> Message {
        // The message types have neither maps of unknown length nor anything else that postcard
        // cannot write, and a growing buffer takes any amount.
        let bytes = postcard::to_stdvec(content).expect("every message can be encoded");
        Message { kind, sequence, bytes }
    }

    /// Decodes the message; it must be a `T` and nothing after it.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        match postcard::take_from_bytes(&self.bytes) {
            Ok((content, [])) => Ok(content),
            _ => Err(Malformed::Message(self.kind.name())),
        }
    }
}

/// Sends messages, as many frames at a time as the ring has room for.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    producer: Producer,
    queue: VecDeque<Message>,
    /// Bytes of the first message in the queue that are in the ring already.
    sent: usize,
    frame: Vec<u64>,
}

impl Sender {
    /// Lines a message up. It is not empty: no message type has an empty encoding.
    pub(crate) fn push(&mut self, message: Message) {
        self.queue.push_back(message);
    }

    /// Messages that are not wholly in the ring yet.
    pub(crate) fn queue(&self) -> impl Iterator<Item = &Message> {
        self.queue.iter()
    }

    /// Whether the first message in the queue is partly in the ring.
    pub(crate) fn halfway(&self) -> bool {
        self.sent > 0
    }

    /// Forgets the messages that are not in the ring. Not to be used halfway.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Writes the frames that there is room for; returns how many.
    pub(crate) fn pump(&mut self, ring: Ring<'_>) -> Result<usize, Malformed> {
        let mut frames = 0;
        while let Some(Message { kind, sequence, bytes }) = self.queue.front() {
            let rest = &bytes[self.sent..];
            let payload = &rest[..rest.len().min(MAX_PAYLOAD)];
            if frame::words(payload.len()) > self.producer.room(ring)? {
                break;
            }
            let more = payload.len() < rest.len();
            let header = Header { kind: *kind, more, sequence: *sequence };
            frame::encode(header, payload, &mut self.frame);
            if !self.producer.push(ring, &self.frame)? {
                break;
            }
            frames += 1;
            self.sent += payload.len();
            if !more {
                self.queue.pop_front();
                self.sent = 0;
            }
        }
        Ok(frames)
    }
}

/// Receives messages of one session.
#[derive(Debug)]
pub(crate) struct Receiver {
    consumer: Consumer,
    /// High half of every sequence number of the session.
    epoch: u32,
    /// The kinds that come this way.
    kinds: &'static [Kind],
    /// The first frame of the message that has begun.
    begun: Option<Header>,
    bytes: Vec<u8>,
    frame: Vec<u64>,
}

impl Receiver {
    pub(crate) fn new(epoch: u32, kinds: &'static [Kind]) -> Receiver {
        Receiver {
            consumer: Consumer::default(),
            epoch,
            kinds,
            begun: None,
            bytes: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// Whether a message has begun and is not whole.
    pub(crate) fn halfway(&self) -> bool {
        self.begun.is_some()
    }

    /// Takes the next whole message, if there is one, and says how many frames it took out of the
    /// ring in any case. It looks at no more than what was there when it began, so that a peer
    /// that writes without end does not keep it.
    pub(crate) fn receive(
        &mut self,
        ring: Ring<'_>,
    ) -> Result<(Option<Message>, usize), Malformed> {
        let mut waiting = self.consumer.filled(ring)?;
        let mut frames = 0;
        while waiting > 0 {
            let taken = frame::take(&mut self.consumer, ring, &mut self.frame, &mut self.bytes)?;
            let Some(header) = taken else { break };
            waiting = waiting.saturating_sub(self.frame.len());
            frames += 1;
            self.check(header)?;
            if !header.more {
                self.begun = None;
                let bytes = std::mem::take(&mut self.bytes);
                let Header { kind, sequence, .. } = header;
                return Ok((Some(Message { kind, sequence, bytes }), frames));
            }
            self.begun = Some(header);
        }
        Ok((None, frames))
    }

    /// Whether a frame belongs here.
    fn check(&self, header: Header) -> Result<(), Malformed> {
        let Header { kind, sequence: found, .. } = header;
        if !self.kinds.contains(&kind) {
            return Err(Malformed::Kind(kind as u8));
        }
        if found >> 32 != u64::from(self.epoch) {
            return Err(Malformed::Sequence { found, expected: first_sequence(self.epoch) });
        }
        match self.begun {
            Some(begun) if (begun.kind, begun.sequence) != (kind, found) => {
                Err(Malformed::Interleaved)
            }
            _ => Ok(()),
        }
    }
}

/// Where a session's sequence numbers begin: no two sessions of one dataplane share any.
pub(crate) const fn first_sequence(epoch: u32) -> u64 {
    (epoch as u64) << 32
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::MAX_COMMAND;
    use crate::ring::tests::Memory;

    const KINDS: &[Kind] = &[Kind::Reply, Kind::Notice];

    fn message(kind: Kind, number: u64, length: usize) -> Message {
        let bytes = (0..length as u64).map(|n| (n.wrapping_mul(number + 7) >> 3) as u8).collect();
        Message { kind, sequence: first_sequence(3) + number, bytes }
    }

    #[test]
    fn messages_larger_than_the_ring_stream_through_it() {
        let memory = Memory::new(16_384);
        let mut sender = Sender::default();
        let mut receiver = Receiver::new(3, KINDS);
        let lengths = [1, 8, MAX_PAYLOAD, MAX_PAYLOAD + 1, 3 << 20, 5];
        for (number, &length) in lengths.iter().enumerate() {
            sender.push(message(Kind::Reply, number as u64, length));
        }
        let mut received = Vec::new();
        while received.len() < lengths.len() {
            let sent = sender.pump(memory.ring()).unwrap();
            let (message, taken) = receiver.receive(memory.ring()).unwrap();
            assert!(sent + taken > 0, "one of the two always gets on");
            received.extend(message);
        }
        for (number, (received, &length)) in received.iter().zip(&lengths).enumerate() {
            assert_eq!(*received, message(Kind::Reply, number as u64, length));
        }
        assert!(!sender.halfway() && !receiver.halfway() && sender.queue().next().is_none());
    }

    proptest! {
        #[test]
        fn messages_come_in_order_whatever_the_pace(
            lengths in prop::collection::vec(1..20_000_usize, 1..20),
            pace in prop::collection::vec(any::<bool>(), 1..20),
        ) {
            let memory = Memory::new(8192);
            let mut sender = Sender::default();
            let mut receiver = Receiver::new(3, KINDS);
            let mut received = Vec::new();
            for (number, &length) in lengths.iter().enumerate() {
                sender.push(message(Kind::Notice, number as u64, length));
            }
            for &send in pace.iter().chain([&true, &false]).cycle() {
                if send {
                    sender.pump(memory.ring()).unwrap();
                } else {
                    received.extend(receiver.receive(memory.ring()).unwrap().0);
                }
                if received.len() == lengths.len() {
                    break;
                }
            }
            for (number, (received, &length)) in received.iter().zip(&lengths).enumerate() {
                prop_assert_eq!(received, &message(Kind::Notice, number as u64, length));
            }
        }

        /// An in-tree stand-in for the fuzz target: a stream of valid messages, then any words
        /// changed in any way, is decoded to its end or refused, and never panics or hangs.
        #[test]
        fn a_garbled_ring_is_refused_or_read_to_its_end(
            changes in prop::collection::vec((0..256_usize, any::<u64>(), any::<bool>()), 1..8),
            head in prop_oneof![Just(0), any::<u64>()],
        ) {
            let memory = Memory::new(256);
            let mut sender = Sender::default();
            for number in 0..16 {
                sender.push(message(Kind::Reply, number, 40 + number as usize));
            }
            sender.pump(memory.ring()).unwrap();
            for (place, value, flip) in changes {
                let word = &memory.data[place];
                let value = if flip { word.load(Ordering::Relaxed) ^ 1 << (value & 63) } else { value };
                word.store(value, Ordering::Relaxed);
            }
            memory.head.fetch_add(head, Ordering::Relaxed);
            let mut receiver = Receiver::new(3, KINDS);
            for _ in 0..=256 {
                match receiver.receive(memory.ring()) {
                    Ok((None, _)) | Err(_) => return Ok(()),
                    Ok((Some(message), _)) => drop(message.decode::<crate::Reply>()),
                }
            }
            prop_assert!(false, "more messages than the ring has words");
        }
    }

    fn receive(frames: &[(Header, &[u8])]) -> Result<Option<Message>, Malformed> {
        let memory = Memory::new(1024);
        let mut producer = Producer::default();
        let mut words = Vec::new();
        for (header, payload) in frames {
            frame::encode(*header, payload, &mut words);
            assert!(producer.push(memory.ring(), &words).unwrap());
        }
        Receiver::new(3, KINDS).receive(memory.ring()).map(|(message, _)| message)
    }

    #[test]
    fn frames_that_do_not_belong_are_refused_by_name() {
        let sequence = first_sequence(3);
        let begun = Header { kind: Kind::Reply, more: true, sequence };

        let command = Header { kind: Kind::Command, ..begun };
        assert_eq!(receive(&[(command, b"x")]), Err(Malformed::Kind(1)));

        let old = Header { sequence: first_sequence(2) + 5, ..begun };
        let expected = Malformed::Sequence { found: old.sequence, expected: sequence };
        assert_eq!(receive(&[(old, b"x")]), Err(expected));

        let other = Header { sequence: sequence + 1, ..begun };
        assert_eq!(receive(&[(begun, b"x"), (other, b"y")]), Err(Malformed::Interleaved));
        let notice = Header { kind: Kind::Notice, ..begun };
        assert_eq!(receive(&[(begun, b"x"), (notice, b"y")]), Err(Malformed::Interleaved));

        assert_eq!(receive(&[(begun, b"x")]), Ok(None), "not whole");
    }

    #[test]
    fn a_message_without_end_is_refused_at_the_bound() {
        let memory = Memory::new(16_384);
        let header = Header { kind: Kind::Command, more: true, sequence: first_sequence(3) };
        let mut words = Vec::new();
        frame::encode(header, &vec![0; MAX_PAYLOAD], &mut words);
        let mut producer = Producer::default();
        let mut receiver = Receiver::new(3, &[Kind::Command]);
        for _ in 0..MAX_COMMAND / MAX_PAYLOAD {
            assert!(producer.push(memory.ring(), &words).unwrap());
            assert_eq!(receiver.receive(memory.ring()), Ok((None, 1)));
        }
        assert!(producer.push(memory.ring(), &words).unwrap());
        let refused = receiver.receive(memory.ring());
        assert_eq!(refused, Err(Malformed::TooLarge { limit: MAX_COMMAND }));
    }

    #[test]
    fn a_message_must_be_one_message() {
        let notice = crate::Notice::Stopping;
        let mut message = Message::new(Kind::Notice, 0, &notice);
        assert_eq!(message.decode(), Ok(notice));
        message.bytes.push(0);
        assert_eq!(message.decode::<crate::Notice>(), Err(Malformed::Message("notice")));
        message.bytes.clear();
        assert_eq!(message.decode::<crate::Notice>(), Err(Malformed::Message("notice")));
    }
}
