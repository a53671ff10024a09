//! What is asked and said about captures: copies of packets, taken as they pass.
//!
//! A capture is opened by [`Command::Capture`](crate::Command::Capture) and read a page at a time by
//! [`Command::Captured`](crate::Command::Captured), until it has been told to stop and its last page
//! is read. One whose session ends, ends with it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_policy::model::Name;

/// Packets in one [`CapturePage`].
pub const MAX_CAPTURED: usize = 4096;

/// Bytes of packets after which a [`CapturePage`] is full.
pub const CAPTURE_PAGE: usize = 1 << 20;

/// Bytes of one packet that are copied at most.
pub const MAX_SNAPLEN: u32 = 65_535;

/// MiB of memory that one capture may take.
pub const MAX_CAPTURE_BUFFER: u32 = 256;

/// Where a packet was seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CaptureDirection {
    /// It was received.
    In,
    /// It was about to be sent.
    Out,
    /// It went from one instance to another.
    Local,
    /// It was dropped.
    Dropped,
}

/// Which packets are captured: those for which all that is given holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CaptureFilter {
    /// The instance in which they are seen.
    pub instance: Option<Name>,
    /// The interface that they come in or leave by, or its port.
    pub interface: Option<Name>,
    /// Where they are seen.
    pub direction: Option<CaptureDirection>,
    /// Whether those that are dropped are meant beside those that go on.
    pub drops: bool,
    /// Networks of the source.
    pub source: Option<IpNet>,
    /// Networks of the destination.
    pub destination: Option<IpNet>,
    /// Networks of one of the two.
    pub host: Option<IpNet>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// One of the two ports; of an ICMP query, its identifier.
    pub port: Option<u16>,
}

/// A capture that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaptureRequest {
    /// Which packets.
    pub filter: CaptureFilter,
    /// Bytes that are copied of each, its link header included; at most [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// MiB in which packets wait to be read, for all workers together; at most
    /// [`MAX_CAPTURE_BUFFER`].
    pub buffer_mib: u32,
}

/// A packet that was captured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CapturedPacket {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Where it was seen.
    pub direction: CaptureDirection,
    /// The instance in which it was seen.
    pub instance: Name,
    /// The interface that it came in or left by; none between instances, and of the router's own
    /// that was dropped.
    pub interface: Option<Name>,
    /// The instance that it came from, unless that is a network.
    pub from: Option<Name>,
    /// The instance that it went to, unless that is a network.
    pub to: Option<Name>,
    /// Name of the reason it was dropped for, if it was.
    pub dropped: Option<Name>,
    /// Bytes of the frame.
    pub length: u32,
    /// The first of them.
    pub bytes: Vec<u8>,
}

/// Packets that were captured, in the order of time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CapturePage {
    /// The packets.
    #[serde(deserialize_with = "crate::message::at_most::<_, _, MAX_CAPTURED>")]
    pub packets: Vec<CapturedPacket>,
    /// Packets for which there was no room since the capture began.
    pub missed: u64,
    /// Whether more wait already.
    pub more: bool,
}
