//! What the fuzz target feeds: everything that looks at bytes from the other end.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Kind;
use crate::greeting::Greeting;
use crate::ring::Ring;
use crate::statistics::Layout;
use crate::stream::Receiver;
use crate::{Command, Notice, Reply};

/// Reads `data` as a greeting, as the header of the statistics, and as the index and the words of
/// a ring.
pub fn receive(data: &[u8]) {
    Greeting::decode(data);
    // Of the statistics too, only the words that another process wrote.
    if let Some(layout) = Layout::describe(words(data)) {
        assert_eq!(Layout::new(layout.limits), layout);
    }

    let mut words = words(data);
    let head = AtomicU64::new(words.next().unwrap_or(0));
    let words: Vec<_> = words.chain(std::iter::repeat(0)).take(4096).map(AtomicU64::new).collect();
    let tail = AtomicU64::new(0);
    let ring = Ring { head: &head, tail: &tail, data: &words };

    let mut receiver = Receiver::new(0, &[Kind::Command, Kind::Reply, Kind::Notice]);
    while let Ok((Some(message), _)) = receiver.receive(ring) {
        let _ = match message.kind {
            Kind::Command => message.decode::<Command>().map(drop),
            Kind::Reply => message.decode::<Reply>().map(drop),
            Kind::Notice => message.decode::<Notice>().map(drop),
        };
    }
    // Both ends' indices were believed only within the ring.
    assert!(tail.load(Ordering::Relaxed) <= 4096);
}

fn words(data: &[u8]) -> impl Iterator<Item = u64> {
    data.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}
