//! The dataplane's end.

mod session;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

use self::session::Session;
use crate::frame::Malformed;
use crate::greeting::{self, Greeting, MAX_GREETING, Release};
use crate::lock::Lock;
use crate::mapping::Mapping;
use crate::segment::Segment;
use crate::socket::{Received, Socket};
use crate::statistics::Layout;
use crate::{ChannelError, Command, Limits, Notice, Reply, SOCKET, Statistics};

/// How long a control process may stop in the middle of something before it counts as lost.
const SILENCE: Duration = Duration::from_secs(10);

/// How long somebody who has connected may take to say hello.
const GREETING: Duration = Duration::from_secs(2);

/// How long nobody is let in when there are no descriptors or no memory to do it with: who waits to
/// be let in would otherwise wake the agent again and again.
const DEAF: Duration = Duration::from_millis(500);

/// How many may be connected without having said hello.
const NEWCOMERS: usize = 8;

/// What the dataplane's end has to say to the agent.
#[derive(Debug)]
pub enum Incoming {
    /// A control process has attached.
    Attached {
        /// Its process; 0 when it is not visible from here.
        pid: u32,
    },
    /// A whole command, to be answered with [`Server::reply`] under the same sequence.
    Command {
        /// What the reply has to carry.
        sequence: u64,
        /// The command.
        command: Command,
    },
    /// The session is over: an open transaction is to be discarded.
    Detached {
        /// Why.
        reason: Detachment,
    },
    /// Somebody asked to attach and may not.
    Refused {
        /// Its process; 0 when it is not visible from here.
        pid: u32,
        /// Why not.
        reason: Refusal,
    },
}

/// Why a session ended.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Detachment {
    /// The control process closed its end or died.
    #[error("the control process is gone")]
    HungUp,
    /// The control process broke the protocol.
    #[error("the control process sent something malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The control process stopped in the middle of a message, or of taking one.
    #[error("the control process has stopped in the middle of a message")]
    Silent,
}

/// Why a control process may not attach.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It runs as another user.
    #[error("user {uid} may not control this dataplane: only root and user {ours} may")]
    Foreign {
        /// Its user.
        uid: u32,
        /// Our own.
        ours: u32,
    },
    /// There is one already.
    #[error("control process {pid} is attached already: stop it first")]
    Taken {
        /// The one that is attached.
        pid: u32,
    },
    /// It is of another release.
    #[error(
        "the dataplane is {ours} and the control process is {theirs}: \
         run both from the same release, and restart the older one"
    )]
    Version {
        /// This program's release.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// It connected and did not speak the protocol.
    #[error("no greeting that this dataplane understands")]
    Stranger,
    /// There is no memory for its session.
    #[error("{0}")]
    Memory(String),
}

/// The last reply is still on its way; [`Server::service`] sends it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the control process has not yet taken the last reply")]
pub struct Busy;

/// The dataplane's end of the channel. No method ever blocks.
///
/// The server counts sessions and lost notices in [`AgentCounters`](crate::statistics::AgentCounters),
/// so it belongs to the thread that writes those.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    listener: OwnedFd,
    release: Release,
    statistics: Arc<Statistics>,
    statistics_file: OwnedFd,
    epoch: u32,
    session: Option<Session>,
    newcomers: VecDeque<Newcomer>,
    /// Until when nobody is let in.
    deaf: Option<Instant>,
    pub(crate) silence: Duration,
    pub(crate) greeting: Duration,
    /// Last, so that the next dataplane finds nothing of this one.
    _lock: Lock,
}

/// Somebody who has connected and not yet said hello.
#[derive(Debug)]
struct Newcomer {
    socket: Socket,
    pid: u32,
    since: Instant,
}

impl Server {
    /// Listens in `dir`, which is made if it is not there. There is one dataplane for a
    /// directory; what a dead one left is replaced.
    pub fn bind(dir: &Path, limits: Limits) -> Result<Server, ChannelError> {
        Server::bind_as(Release::own(), dir, limits)
    }

    pub(crate) fn bind_as(
        release: Release,
        dir: &Path,
        limits: Limits,
    ) -> Result<Server, ChannelError> {
        fs::create_dir_all(dir).map_err(ChannelError::file(dir, "create the directory"))?;
        let lock = Lock::take(dir)?;
        let layout = Layout::new(limits);
        let (mapping, statistics_file) = Mapping::create("sluice-statistics", layout.bytes)?;
        let statistics = Arc::new(Statistics::create(mapping, layout));
        let socket = dir.join(SOCKET);
        let listener =
            listen(&socket).map_err(ChannelError::file(&socket, "listen on the socket"))?;
        Ok(Server {
            socket,
            listener,
            release,
            statistics,
            statistics_file,
            epoch: 0,
            session: None,
            newcomers: VecDeque::new(),
            deaf: None,
            silence: SILENCE,
            greeting: GREETING,
            _lock: lock,
        })
    }

    /// What to wait on: when one of these is readable, [`service`](Self::service) has work. Which
    /// they are may change with every call of `service`. Deadlines are looked at in `service`
    /// too, so it should be called once a second or so in any case.
    pub fn poll_descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let session = self.session.iter().map(|session| session.link.socket.as_fd());
        let newcomers = self.newcomers.iter().map(|newcomer| newcomer.socket.as_fd());
        let listener = (!self.is_deaf()).then(|| self.listener.as_fd());
        listener.into_iter().chain(session).chain(newcomers)
    }

    fn is_deaf(&self) -> bool {
        self.deaf.is_some_and(|until| Instant::now() < until)
    }

    /// Does whatever can be done at once, and returns the first thing that the agent has to know.
    /// Call it until it returns `None`.
    ///
    /// Commands come one after another: as long as a reply is still on its way, no further
    /// command is taken.
    pub fn service(&mut self) -> Option<Incoming> {
        self.service_session().or_else(|| self.service_newcomers())
    }

    /// Answers a command. A reply larger than the ring goes out bit by bit as
    /// [`service`](Self::service) is called. A reply to a session that is over is dropped.
    pub fn reply(&mut self, sequence: u64, reply: &Reply) -> Result<(), Busy> {
        match &mut self.session {
            Some(session) => session.reply(sequence, reply),
            None => Ok(()),
        }
    }

    /// Tells the control process something, if there is one. One that does not keep up loses
    /// notices, and they are counted.
    pub fn event(&mut self, notice: &Notice) {
        if self.session.as_mut().is_some_and(|session| session.notify(notice).is_err()) {
            self.statistics.agent().notices_lost.add(1);
        }
    }

    /// Whether a control process is attached.
    pub fn attached(&self) -> bool {
        self.session.is_some()
    }

    /// How many sessions there have been: changes whenever a control process attaches.
    pub fn epoch(&self) -> u64 {
        self.epoch.into()
    }

    /// The statistics segment.
    pub fn statistics(&self) -> Arc<Statistics> {
        self.statistics.clone()
    }

    fn service_session(&mut self) -> Option<Incoming> {
        match self.session.as_mut()?.service(self.silence) {
            Ok(command) => {
                command.map(|(sequence, command)| Incoming::Command { sequence, command })
            }
            Err(reason) => {
                self.session = None;
                if matches!(reason, Detachment::Malformed(_)) {
                    self.statistics.agent().sessions_malformed.add(1);
                }
                Some(Incoming::Detached { reason })
            }
        }
    }

    fn service_newcomers(&mut self) -> Option<Incoming> {
        if let Some(refused) = self.accept() {
            return Some(refused);
        }
        // One that has just died makes room: tell the agent that before anybody is turned away.
        if self.session.as_ref().is_some_and(|session| session.link.socket.hung_up()) {
            return self.service_session();
        }
        for _ in 0..self.newcomers.len() {
            let newcomer = self.newcomers.pop_front()?;
            let mut buffer = [0; MAX_GREETING];
            match newcomer.socket.receive(&mut buffer) {
                Received::Datagram(length) => {
                    let greeting = Greeting::decode(&buffer[..length]);
                    if let Some(incoming) = self.greet(newcomer, greeting) {
                        return Some(incoming);
                    }
                }
                Received::Nothing if newcomer.since.elapsed() < self.greeting => {
                    self.newcomers.push_back(newcomer);
                }
                Received::Nothing => return Some(self.refuse(newcomer, Refusal::Stranger)),
                Received::HungUp => {}
            }
        }
        None
    }

    /// Takes in those who have connected.
    fn accept(&mut self) -> Option<Incoming> {
        if self.is_deaf() {
            return None;
        }
        self.deaf = None;
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => Socket::new(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::AGAIN) => return None,
                // No descriptors, no memory: whoever waits goes on waiting.
                Err(_) => {
                    self.deaf = Some(Instant::now() + DEAF);
                    return None;
                }
            };
            let Ok(peer) = socket.peer() else { continue };
            let newcomer = Newcomer { socket, pid: peer.pid, since: Instant::now() };
            if let Err(ours) = peer.permitted() {
                return Some(self.refuse(newcomer, Refusal::Foreign { uid: peer.uid, ours }));
            }
            self.newcomers.push_back(newcomer);
            if self.newcomers.len() > NEWCOMERS {
                let oldest = self.newcomers.pop_front()?;
                return Some(self.refuse(oldest, Refusal::Stranger));
            }
        }
    }

    /// Answers a greeting; `None` if the newcomer did not wait for the answer.
    fn greet(&mut self, newcomer: Newcomer, greeting: Option<Greeting>) -> Option<Incoming> {
        let Some(Greeting::Hello(theirs)) = greeting else {
            return Some(self.refuse(newcomer, Refusal::Stranger));
        };
        if theirs != self.release {
            let (ours, theirs) = (self.release.to_string(), theirs.to_string());
            return Some(self.refuse(newcomer, Refusal::Version { ours, theirs }));
        }
        if let Some(session) = &self.session {
            let pid = session.pid;
            return Some(self.refuse(newcomer, Refusal::Taken { pid }));
        }
        let epoch = self.epoch + 1;
        let (segment, file) = match Segment::create(epoch) {
            Ok(segment) => segment,
            Err(error) => {
                return Some(self.refuse(newcomer, Refusal::Memory(error.to_string())));
            }
        };
        let welcome = Greeting::Welcome {
            release: self.release.clone(),
            epoch,
            statistics: self.statistics.layout().bytes as u64,
        };
        let files = [file.as_fd(), self.statistics_file.as_fd()];
        greeting::send(&newcomer.socket, &welcome, &files).ok()?;
        let Newcomer { socket, pid, .. } = newcomer;
        self.epoch = epoch;
        self.session = Some(Session::new(socket, pid, segment, epoch));
        self.statistics.agent().sessions.add(1);
        Some(Incoming::Attached { pid })
    }

    /// Tells a newcomer why it may not attach.
    fn refuse(&self, newcomer: Newcomer, reason: Refusal) -> Incoming {
        let greeting = match &reason {
            Refusal::Version { .. } => Greeting::OtherRelease(self.release.clone()),
            other => Greeting::Refused { layout: self.release.layout, reason: other.to_string() },
        };
        // It may be gone by now; then it does not need to know.
        let _ = newcomer.socket.send(&greeting.encode());
        Incoming::Refused { pid: newcomer.pid, reason }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Connecting to what is left would fail as clearly; this only tidies up.
        let _ = fs::remove_file(&self.socket);
    }
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    // The lock is ours, so whatever is there is what a dead dataplane left.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let address = SocketAddrUnix::new(path)?;
    let listener = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&listener, &address)?;
    // Who may attach is decided by credentials; this spares us the others.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&listener, 16)?;
    Ok(listener)
}
