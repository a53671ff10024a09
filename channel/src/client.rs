//! The control process's end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::frame::{Kind, MAX_COMMAND, Malformed};
use crate::greeting::{self, Greeting, Release};
use crate::link::{End, Link};
use crate::mapping::Mapping;
use crate::segment::Segment;
use crate::socket::Socket;
use crate::stream::{Message, first_sequence};
use crate::{ChannelError, Command, Notice, Reply, SOCKET, Statistics};

/// How often a dataplane that is not there yet is looked for.
const RETRY: Duration = Duration::from_millis(20);

/// Notices that are kept; the oldest give way.
const NOTICES: usize = 4096;

/// The control process's end of the channel. Every wait has a deadline.
#[derive(Debug)]
pub struct Client {
    /// `None` once the session is over.
    pub(crate) link: Option<Link>,
    statistics: Arc<Statistics>,
    /// Sequence of the last command.
    last: u64,
    notices: VecDeque<Notice>,
}

impl Client {
    /// Attaches to the dataplane of `dir`, waiting for it to appear and to answer for at most
    /// `patience`.
    pub fn attach(dir: &Path, patience: Duration) -> Result<Client, ChannelError> {
        Client::attach_as(&Release::own(), dir, patience)
    }

    pub(crate) fn attach_as(
        release: &Release,
        dir: &Path,
        patience: Duration,
    ) -> Result<Client, ChannelError> {
        let deadline = Instant::now() + patience;
        let socket = Socket::new(connect(&dir.join(SOCKET), patience, deadline)?);
        let peer = socket
            .peer()
            .map_err(|source| ChannelError::Socket { action: "asking who listens", source })?;
        peer.permitted().map_err(|ours| ChannelError::Foreign { uid: peer.uid, ours })?;

        // A failure to send is a hang-up, and there may be a reason to read.
        let _ = socket.send(&Greeting::Hello(release.clone()).encode());
        while !socket.wait(deadline)? {
            if Instant::now() >= deadline {
                return Err(ChannelError::Deadline { command: "attach", patience });
            }
        }
        let (greeting, files) = greeting::receive(&socket).map_err(|_| ChannelError::Lost)?;
        let other = |theirs: &dyn std::fmt::Display| ChannelError::Version {
            ours: release.to_string(),
            theirs: theirs.to_string(),
        };
        match greeting {
            Some(Greeting::Welcome { release: theirs, epoch, statistics })
                if theirs == *release =>
            {
                let [rings, counters] =
                    <[OwnedFd; 2]>::try_from(files).map_err(|_| ChannelError::Segment)?;
                let segment = Segment::open(rings, epoch)?;
                let bytes = usize::try_from(statistics).map_err(|_| ChannelError::Segment)?;
                let statistics = Statistics::open(Mapping::shared(counters, bytes)?)
                    .ok_or(ChannelError::Segment)?;
                Ok(Client {
                    link: Some(Link::new(End::Control, socket, segment, epoch)),
                    statistics: Arc::new(statistics),
                    last: first_sequence(epoch),
                    notices: VecDeque::new(),
                })
            }
            Some(Greeting::Welcome { release: theirs, .. } | Greeting::OtherRelease(theirs)) => {
                Err(other(&theirs))
            }
            Some(Greeting::Refused { reason, .. }) => Err(ChannelError::Refused { reason }),
            Some(Greeting::Hello(_)) | None => Err(other(&"something that does not say")),
        }
    }

    /// Sends a command and waits for its reply.
    ///
    /// * [`ChannelError::Busy`]: the dataplane took nothing, or not all, of the command in time;
    ///   it has no effect. If some had been taken, the session is over as well.
    /// * [`ChannelError::Deadline`]: the command was sent, and its effect is not known. The
    ///   session goes on; the reply is dropped should it still come.
    /// * [`ChannelError::Lost`], [`ChannelError::Malformed`]: the session is over, and the effect
    ///   is not known.
    pub fn call(&mut self, command: &Command, patience: Duration) -> Result<Reply, ChannelError> {
        let deadline = Instant::now() + patience;
        let name = command.name();
        let message = Message::new(Kind::Command, self.last + 1, command);
        if message.bytes.len() > MAX_COMMAND {
            let bytes = message.bytes.len();
            return Err(ChannelError::TooLarge { command: name, bytes, limit: MAX_COMMAND });
        }
        self.link.as_mut().ok_or(ChannelError::Lost)?.sender.push(message);
        self.last += 1;
        loop {
            let turn = self.turn()?;
            if let Some(reply) = turn.reply {
                return Ok(reply);
            }
            if Instant::now() >= deadline {
                return Err(self.give_up(name, patience));
            }
            if !turn.busy {
                self.link.as_ref().ok_or(ChannelError::Lost)?.socket.wait(deadline)?;
            }
        }
    }

    /// What the dataplane has said unasked since the last time.
    pub fn notices(&mut self) -> Vec<Notice> {
        // A failure ends the session, which `lost` and the next call say. So does the bound on
        // the turns, for a dataplane that would talk for ever: what is left comes next time.
        for _ in 0..NOTICES {
            match self.turn() {
                Ok(turn) if turn.busy => {}
                _ => break,
            }
        }
        self.notices.drain(..).collect()
    }

    /// The statistics segment. It outlives the session, and then stands still.
    pub fn statistics(&self) -> Arc<Statistics> {
        self.statistics.clone()
    }

    /// Whether the session is over: attach again.
    pub fn lost(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.socket.hung_up())
    }

    /// What to wait on between calls: when it is readable, [`notices`](Self::notices) has work or
    /// the session is over. `None` once it is known to be over.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(|link| link.socket.as_fd())
    }

    /// Sends what there is room for and takes at most one message.
    fn turn(&mut self) -> Result<Turn, ChannelError> {
        let link = self.link.as_mut().ok_or(ChannelError::Lost)?;
        let turn = link.exchange(true).and_then(|exchange| {
            let reply = match &exchange.message {
                Some(message) if message.kind == Kind::Notice => {
                    self.notices.push_back(message.decode()?);
                    if self.notices.len() > NOTICES {
                        self.notices.pop_front();
                    }
                    None
                }
                Some(message) if message.sequence > self.last => {
                    let (found, expected) = (message.sequence, self.last);
                    return Err(Malformed::Sequence { found, expected });
                }
                // An older one answers a call that has given up.
                Some(message) if message.sequence == self.last => Some(message.decode()?),
                _ => None,
            };
            let busy = exchange.sent + exchange.taken > 0;
            Ok((Turn { reply, busy }, exchange.connected))
        });
        match turn {
            // What a dataplane said before it went is still heard.
            Ok((turn, connected)) if connected || turn.busy => Ok(turn),
            Ok(_) => {
                self.link = None;
                Err(ChannelError::Lost)
            }
            Err(malformed) => {
                self.link = None;
                Err(malformed.into())
            }
        }
    }

    /// Withdraws what has not been sent of the last command.
    fn give_up(&mut self, command: &'static str, patience: Duration) -> ChannelError {
        let Some(link) = &mut self.link else { return ChannelError::Lost };
        if link.sender.queue().next().is_none() {
            return ChannelError::Deadline { command, patience };
        }
        if link.sender.halfway() {
            // The dataplane discards a command that is cut off with its session.
            self.link = None;
        } else {
            link.sender.clear();
            self.last -= 1;
        }
        ChannelError::Busy { command, patience }
    }
}

/// What one turn came to.
struct Turn {
    /// The reply to the last command.
    reply: Option<Reply>,
    /// Whether anything went either way, so that another turn may find more.
    busy: bool,
}

/// Connects to a socket that may not be there yet.
fn connect(path: &Path, patience: Duration, deadline: Instant) -> Result<OwnedFd, ChannelError> {
    const ACTION: &str = "connect to the dataplane's socket";
    let address = SocketAddrUnix::new(path).map_err(ChannelError::file(path, ACTION))?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(ChannelError::file(path, ACTION))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(source @ (Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN)) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let (path, source) = (path.to_owned(), source.into());
                    return Err(ChannelError::Absent { path, patience, source });
                }
                thread::sleep(left.min(RETRY));
            }
            Err(source) => return Err(ChannelError::file(path, ACTION)(source)),
        }
    }
}
