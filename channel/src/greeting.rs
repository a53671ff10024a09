//! The first words on the socket.
//!
//! The control process says [`Hello`](Kind::Hello); the dataplane answers
//! [`Welcome`](Kind::Welcome), with the descriptors of the session's rings and of the statistics,
//! or refuses. Every datagram begins with sixteen bytes that no release ever changes, so that two
//! releases that have nothing else in common can still tell each other which they are:
//!
//! ```text
//! 0    magic, "sluice\r\n"
//! 8    layout version
//! 12   kind
//! 16   Hello, OtherRelease: the program's release
//!      Welcome: epoch (4 bytes), bytes of the statistics (8), the program's release
//!      Refused: why, as text
//! ```

use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::segment::LAYOUT;
use crate::socket::Socket;

const MAGIC: [u8; 8] = *b"sluice\r\n";

/// Bytes that begin every datagram.
const PREFIX: usize = 16;

/// The longest greeting that is read.
pub(crate) const MAX_GREETING: usize = 1024;

/// Which program this is: the two ends must agree, because the encoding of messages does not
/// describe itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Release {
    pub(crate) layout: u32,
    pub(crate) version: String,
}

impl Release {
    /// This program.
    pub(crate) fn own() -> Release {
        Release { layout: LAYOUT, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "release {} (channel layout {})", self.version.escape_debug(), self.layout)
    }
}

/// A datagram of the greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Greeting {
    /// From the control process: may I?
    Hello(Release),
    /// You may; two descriptors come along.
    Welcome { release: Release, epoch: u32, statistics: u64 },
    /// You may not.
    Refused { layout: u32, reason: String },
    /// You may not, because you are of another release than this.
    OtherRelease(Release),
}

impl Greeting {
    /// As it goes over the socket.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, layout, numbers, text) = match self {
            Greeting::Hello(release) => (1, release.layout, Vec::new(), &release.version),
            Greeting::Welcome { release, epoch, statistics } => {
                let numbers = [&epoch.to_le_bytes()[..], &statistics.to_le_bytes()].concat();
                (2, release.layout, numbers, &release.version)
            }
            Greeting::Refused { layout, reason } => (3, *layout, Vec::new(), reason),
            Greeting::OtherRelease(release) => (4, release.layout, Vec::new(), &release.version),
        };
        let kind: u32 = kind;
        [&MAGIC[..], &layout.to_le_bytes(), &kind.to_le_bytes(), &numbers, text.as_bytes()].concat()
    }

    /// What a datagram says; `None` if it is no greeting of any release.
    pub(crate) fn decode(datagram: &[u8]) -> Option<Greeting> {
        let (prefix, rest) = datagram.split_at_checked(PREFIX)?;
        let (magic, numbers) = prefix.split_at(MAGIC.len());
        if magic != MAGIC {
            return None;
        }
        let layout = u32::from_le_bytes(*numbers.first_chunk()?);
        let kind = u32::from_le_bytes(*numbers.last_chunk()?);
        let text = |bytes| Some(str::from_utf8(bytes).ok()?.to_owned());
        match kind {
            1 => Some(Greeting::Hello(Release { layout, version: text(rest)? })),
            2 => {
                let (epoch, rest) = rest.split_first_chunk()?;
                let (statistics, rest) = rest.split_first_chunk()?;
                Some(Greeting::Welcome {
                    release: Release { layout, version: text(rest)? },
                    epoch: u32::from_le_bytes(*epoch),
                    statistics: u64::from_le_bytes(*statistics),
                })
            }
            3 => Some(Greeting::Refused { layout, reason: text(rest)? }),
            4 => Some(Greeting::OtherRelease(Release { layout, version: text(rest)? })),
            _ => None,
        }
    }
}

/// Sends a greeting with descriptors.
pub(crate) fn send(
    socket: &Socket,
    greeting: &Greeting,
    files: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::INVAL);
    }
    let bytes = greeting.encode();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags).map(drop)
}

/// Takes a greeting and the descriptors that came with it; `None` in place of one that makes no
/// sense.
pub(crate) fn receive(socket: &Socket) -> Result<(Option<Greeting>, Vec<OwnedFd>), Errno> {
    let mut buffer = [0; MAX_GREETING];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?;
    let files = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect(),
        _ => Vec::new(),
    });
    let files = files.collect();
    if received.bytes == 0 {
        return Err(Errno::CONNRESET);
    }
    Ok((Greeting::decode(&buffer[..received.bytes.min(MAX_GREETING)]), files))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn release() -> Release {
        Release { layout: 7, version: "1.2.3".into() }
    }

    #[test]
    fn greetings_come_back() {
        for greeting in [
            Greeting::Hello(release()),
            Greeting::Welcome { release: release(), epoch: 5, statistics: 1 << 40 },
            Greeting::Refused { layout: 7, reason: "because".into() },
            Greeting::OtherRelease(release()),
        ] {
            let bytes = greeting.encode();
            assert_eq!(Greeting::decode(&bytes), Some(greeting));
            for length in 0..PREFIX {
                assert_eq!(Greeting::decode(&bytes[..length]), None);
            }
        }
    }

    #[test]
    fn the_prefix_is_the_same_in_every_release() {
        let expected = b"sluice\r\n\x07\0\0\0\x01\0\0\x001.2.3";
        assert_eq!(Greeting::Hello(release()).encode(), expected);
        let expected = b"sluice\r\n\x07\0\0\0\x04\0\0\x001.2.3";
        assert_eq!(Greeting::OtherRelease(release()).encode(), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_greeting_or_not(tail in prop::collection::vec(any::<u8>(), 0..64)) {
            Greeting::decode(&tail);
            Greeting::decode(&[&MAGIC[..], &tail].concat());
        }
    }
}
