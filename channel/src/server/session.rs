//! One control process's time at the dataplane.

use std::time::{Duration, Instant};

use super::{Busy, Detachment};
use crate::frame::{Kind, MAX_REPLY, Malformed};
use crate::link::{End, Link};
use crate::segment::Segment;
use crate::socket::Socket;
use crate::stream::{Message, first_sequence};
use crate::{Command, Notice, Reply};

/// Notices that wait for room; more are lost.
const NOTICES: usize = 64;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) pid: u32,
    epoch: u32,
    /// Sequence of the last command.
    last: u64,
    /// Sequence of the last notice.
    notice: u64,
    /// When something last went either way.
    progress: Instant,
}

impl Session {
    pub(super) fn new(socket: Socket, pid: u32, segment: Segment, epoch: u32) -> Session {
        Session {
            link: Link::new(End::Dataplane, socket, segment, epoch),
            pid,
            epoch,
            last: first_sequence(epoch),
            notice: first_sequence(epoch),
            progress: Instant::now(),
        }
    }

    /// Sends and takes what is there; returns the next whole command.
    pub(super) fn service(
        &mut self,
        silence: Duration,
    ) -> Result<Option<(u64, Command)>, Detachment> {
        let exchange = self.link.exchange(!self.replying())?;
        if !exchange.connected {
            return Err(Detachment::HungUp);
        }
        if exchange.sent + exchange.taken > 0 {
            self.progress = Instant::now();
        } else if self.halfway() && self.progress.elapsed() > silence {
            return Err(Detachment::Silent);
        }
        let Some(message) = exchange.message else { return Ok(None) };
        let (found, expected) = (message.sequence, self.last + 1);
        if found != expected {
            return Err(Malformed::Sequence { found, expected }.into());
        }
        self.last = found;
        Ok(Some((found, message.decode()?)))
    }

    /// Answers a command of this session.
    pub(super) fn reply(&mut self, sequence: u64, reply: &Reply) -> Result<(), Busy> {
        if sequence >> 32 != u64::from(self.epoch) {
            return Ok(());
        }
        if self.replying() {
            return Err(Busy);
        }
        let mut message = Message::new(Kind::Reply, sequence, reply);
        if message.bytes.len() > MAX_REPLY {
            let bytes = message.bytes.len();
            let reason =
                format!("the answer takes {bytes} bytes, over the channel's limit of {MAX_REPLY}");
            message = Message::new(Kind::Reply, sequence, &Reply::Refused(vec![reason]));
        }
        self.send(message);
        Ok(())
    }

    /// Sends a notice, if there is room.
    pub(super) fn notify(&mut self, notice: &Notice) -> Result<(), Busy> {
        let waiting = self.link.sender.queue().filter(|message| message.kind == Kind::Notice);
        if waiting.count() >= NOTICES {
            return Err(Busy);
        }
        self.notice += 1;
        self.send(Message::new(Kind::Notice, self.notice, notice));
        Ok(())
    }

    fn send(&mut self, message: Message) {
        let idle = !self.halfway();
        // A ring that makes no sense makes none for `service` either, which ends the session.
        let sent = self.link.send(message).unwrap_or(0);
        if idle || sent > 0 {
            self.progress = Instant::now();
        }
    }

    /// Whether a reply is on its way.
    fn replying(&self) -> bool {
        self.link.sender.queue().any(|message| message.kind == Kind::Reply)
    }

    /// Whether something has begun that the control process has to get on with.
    fn halfway(&self) -> bool {
        self.link.receiver.halfway() || self.link.sender.queue().next().is_some()
    }
}
