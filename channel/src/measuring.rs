//! Both ends of one ring without a session around them, for the benchmark: what a command costs
//! to encode, to carry and to decode, apart from what waking a process costs.

use std::sync::Arc;
use std::thread;

use crate::frame::{Kind, Malformed};
use crate::segment::Segment;
use crate::stream::{Message, Receiver, Sender, first_sequence};
use crate::{ChannelError, Command};

const EPOCH: u32 = 1;

/// The end that commands go in at.
#[derive(Debug)]
pub struct Ingoing {
    segment: Arc<Segment>,
    sender: Sender,
    sequence: u64,
}

/// The end that they come out of.
#[derive(Debug)]
pub struct Outgoing {
    segment: Arc<Segment>,
    receiver: Receiver,
}

/// A ring as a session has it: sealed shared memory of the same size.
pub fn ring() -> Result<(Ingoing, Outgoing), ChannelError> {
    let (segment, _file) = Segment::create(EPOCH)?;
    let segment = Arc::new(segment);
    let sequence = first_sequence(EPOCH);
    let ingoing = Ingoing { segment: Arc::clone(&segment), sender: Sender::default(), sequence };
    let outgoing = Outgoing { segment, receiver: Receiver::new(EPOCH, &[Kind::Command]) };
    Ok((ingoing, outgoing))
}

impl Ingoing {
    /// Sends a command, waiting for room.
    pub fn send(&mut self, command: &Command) -> Result<(), Malformed> {
        self.sequence += 1;
        self.sender.push(Message::new(Kind::Command, self.sequence, command));
        loop {
            self.sender.pump(self.segment.down())?;
            if self.sender.queue().next().is_none() {
                return Ok(());
            }
            thread::yield_now();
        }
    }
}

impl Outgoing {
    /// Waits for a command.
    pub fn receive(&mut self) -> Result<Command, Malformed> {
        loop {
            match self.receiver.receive(self.segment.down())?.0 {
                Some(message) => return message.decode(),
                None => thread::yield_now(),
            }
        }
    }
}
