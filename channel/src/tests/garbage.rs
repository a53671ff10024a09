//! Ends that write anything anywhere in the memory that they share.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::frame::{Kind, Malformed};
use crate::{ChannelError, Detachment};

/// A repeatable source of garbage (xorshift64).
fn garbage(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

fn flip(word: &AtomicU64, bit: u32) {
    word.fetch_xor(1 << bit, Ordering::Relaxed);
}

#[test]
fn no_flipped_bit_of_a_command_reaches_the_agent() {
    let (dir, mut server) = bind();
    let mut ended = 0;
    for word in 0..4 {
        for bit in (0..64).step_by(3) {
            let mut client = attach(&dir, &mut server);
            let interface = Some("lan.10".into());
            let command = Command::FlushNeighbours { interface, address: None };
            let deadline = client.call(&command, Duration::ZERO);
            assert!(matches!(deadline, Err(ChannelError::Deadline { .. })));
            let down = client.link.as_ref().unwrap().segment.down();
            flip(&down.data[word], bit);
            match next(&mut server) {
                Incoming::Detached { reason: Detachment::Malformed(_) } => ended += 1,
                other => panic!("word {word}, bit {bit}: {other:?}"),
            }
            assert!(client.lost());
        }
    }
    let counted = server.statistics().agent().sessions_malformed.get();
    assert_eq!(counted, ended);
}

#[test]
fn no_flipped_bit_of_a_reply_reaches_the_caller() {
    let (dir, mut server) = bind();
    for word in 0..4 {
        for bit in (0..64).step_by(3) {
            let mut client = attach(&dir, &mut server);
            assert!(client.call(&Command::Status, Duration::ZERO).is_err());
            let (sequence, _) = command(&mut server);
            server.reply(sequence, &Reply::Refused(vec!["because".into()])).unwrap();
            let up = client.link.as_ref().unwrap().segment.up();
            flip(&up.data[word], bit);
            let error = client.call(&Command::Abort, PATIENCE).unwrap_err();
            assert!(matches!(error, ChannelError::Malformed(_)), "word {word}, bit {bit}: {error}");
            assert!(client.lost());
            assert!(matches!(
                next(&mut server),
                Incoming::Command { .. } | Incoming::Detached { .. }
            ));
            while server.attached() {
                next(&mut server);
            }
        }
    }
}

#[test]
fn indices_that_make_no_sense_are_named() {
    let (dir, mut server) = bind();
    let client = attach(&dir, &mut server);
    let link = client.link.as_ref().unwrap();
    link.segment.down().head.store(u64::MAX, Ordering::Relaxed);
    link.socket.ring();
    let Incoming::Detached { reason } = next(&mut server) else { panic!() };
    let indices = Malformed::Indices { used: u64::MAX, capacity: 131_072 };
    assert_eq!(reason, Detachment::Malformed(indices));

    let client = attach(&dir, &mut server);
    let link = client.link.as_ref().unwrap();
    link.segment.up().tail.store(1, Ordering::Relaxed);
    server.event(&crate::Notice::Stopping);
    let Incoming::Detached { reason } = next(&mut server) else { panic!() };
    assert_eq!(
        reason,
        Detachment::Malformed(Malformed::Indices { used: u64::MAX, capacity: 131_072 })
    );
}

#[test]
fn a_command_out_of_turn_is_refused() {
    let (dir, mut server) = bind();
    let client = attach(&dir, &mut server);
    let mut link = client.link.unwrap();
    let (found, expected) = ((1 << 32) + 2, (1 << 32) + 1);
    let message = crate::stream::Message::new(Kind::Command, found, &Command::Commit);
    link.send(message).unwrap();
    let Incoming::Detached { reason } = next(&mut server) else { panic!() };
    assert_eq!(reason, Detachment::Malformed(Malformed::Sequence { found, expected }));
}

/// Somebody scribbles over both rings, indices too, while both ends talk. Neither may panic or
/// hang; each goes on, or names what is wrong.
#[test]
fn scribbling_ends_the_session_and_nothing_else() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use crate::link::{End, Link};
    use crate::segment::Segment;
    use crate::socket::Socket;
    use crate::stream::Message;

    fn talk(
        mut link: Link,
        stop: &AtomicBool,
        mut words: impl FnMut(Option<Message>) -> Option<Message>,
    ) -> Result<(), Malformed> {
        while !stop.load(Ordering::Relaxed) {
            let exchange = link.exchange(true)?;
            let idle = link.sender.queue().next().is_none();
            match words(exchange.message) {
                Some(message) if idle => drop(link.send(message)?),
                _ => thread::yield_now(),
            }
        }
        Ok(())
    }

    let mut refusals = 0;
    for seed in 1..=60 {
        let mut random = garbage(seed);
        let (ours, file) = Segment::create(1).unwrap();
        let theirs = Segment::open(&file, 1).unwrap();
        let scribbled = Segment::open(&file, 1).unwrap();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let sockets = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let (a, b) = sockets.unwrap();
        let dataplane = Link::new(End::Dataplane, Socket::new(a), ours, 1);
        let control = Link::new(End::Control, Socket::new(b), theirs, 1);

        let stop = AtomicBool::new(false);
        let sequence = 1 << 32;
        let reply = Reply::State(state(seed as u32 * 20));
        thread::scope(|scope| {
            let ends = [
                scope.spawn(|| {
                    talk(dataplane, &stop, |message| {
                        let _ = message?.decode::<Command>();
                        Some(Message::new(Kind::Reply, sequence, &reply))
                    })
                }),
                scope.spawn(|| {
                    talk(control, &stop, |message| {
                        let _ = message.map(|message| message.decode::<Reply>());
                        Some(Message::new(
                            Kind::Command,
                            sequence,
                            &Command::State { tables: Vec::new() },
                        ))
                    })
                }),
            ];
            for _ in 0..1000 {
                let ring = if random() & 1 == 0 { scribbled.down() } else { scribbled.up() };
                let word = match random() % 64 {
                    0 if seed & 1 == 0 => ring.head,
                    1 if seed & 1 == 0 => ring.tail,
                    _ => &ring.data[random() as usize % ring.data.len()],
                };
                let value = if random() & 1 == 0 { random() % 200_000 } else { random() };
                word.store(value, Ordering::Relaxed);
                if random() & 31 == 0 {
                    thread::yield_now();
                }
            }
            thread::sleep(Duration::from_millis(2));
            stop.store(true, Ordering::Relaxed);
            refusals += ends.into_iter().filter_map(|end| end.join().unwrap().err()).count();
        });
    }
    assert!(refusals > 0);
}
