//! What both ends of a session have: the socket, the memory, and a stream of messages each way.

use crate::frame::{Kind, Malformed};
use crate::ring::Ring;
use crate::segment::Segment;
use crate::socket::Socket;
use crate::stream::{Message, Receiver, Sender};

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Dataplane,
    Control,
}

impl End {
    fn inward(self, segment: &Segment) -> Ring<'_> {
        match self {
            End::Dataplane => segment.down(),
            End::Control => segment.up(),
        }
    }

    fn outward(self, segment: &Segment) -> Ring<'_> {
        match self {
            End::Dataplane => segment.up(),
            End::Control => segment.down(),
        }
    }
}

/// One end of a session.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: Socket,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) segment: Segment,
    end: End,
}

/// What a turn of [`Link::exchange`] came to.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// A whole message that arrived.
    pub(crate) message: Option<Message>,
    /// Frames that went out.
    pub(crate) sent: usize,
    /// Frames that were taken in.
    pub(crate) taken: usize,
    /// Whether the other end is still there.
    pub(crate) connected: bool,
}

impl Link {
    pub(crate) fn new(end: End, socket: Socket, segment: Segment, epoch: u32) -> Link {
        let kinds: &[Kind] = match end {
            End::Dataplane => &[Kind::Command],
            End::Control => &[Kind::Reply, Kind::Notice],
        };
        let receiver = Receiver::new(epoch, kinds);
        Link { socket, sender: Sender::default(), receiver, segment, end }
    }

    /// Sends what there is room for and, if asked to listen, takes at most one message; never
    /// waits. The bells are taken before the rings are looked at, so that whatever the other end
    /// does after this rings again.
    pub(crate) fn exchange(&mut self, listen: bool) -> Result<Exchange, Malformed> {
        let connected = self.socket.drain();
        let sent = self.sender.pump(self.end.outward(&self.segment))?;
        let (message, taken) =
            if listen { self.receiver.receive(self.end.inward(&self.segment))? } else { (None, 0) };
        if sent + taken > 0 {
            self.socket.ring();
        }
        Ok(Exchange { message, sent, taken, connected })
    }

    /// Lines a message up and sends what there is room for.
    pub(crate) fn send(&mut self, message: Message) -> Result<usize, Malformed> {
        self.sender.push(message);
        let sent = self.sender.pump(self.end.outward(&self.segment))?;
        if sent > 0 {
            self.socket.ring();
        }
        Ok(sent)
    }
}
