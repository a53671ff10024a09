//! What the two processes say to each other.
//!
//! The control process sends a [`Command`] and gets exactly one [`Reply`] to it; the dataplane
//! sends a [`Notice`] whenever it has one. A change of policy is a transaction: [`Command::Begin`]
//! names the generation it starts from and the one it makes, any number of [`Command::Apply`]
//! follow, and [`Command::Commit`] makes them take effect together. A session that ends before the
//! commit leaves nothing behind.
//!
//! Generations are numbered by the control process, which remembers them: a dataplane begins at 0
//! and takes any number above its own.
//!
//! The encoding is postcard's. It is not self-describing, which is why the two ends must be of
//! one release: the handshake sees to that.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sluice_policy::model::{Action, FilterPoint, MacAddress, Name, State};
use sluice_policy::{Digests, Packed, PortId, RuleSlot, Table};

use crate::capture::{CapturePage, CaptureRequest};
use crate::flows::{FlowFilter, FlowPage, FlowPlace, FlowTuple};
use crate::hooks::HookReport;

/// Reads a list of at most `MOST` things.
pub(crate) fn at_most<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for AtMost<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(thing) = access.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                list.push(thing);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MOST>(PhantomData))
}

/// What an appliance is sized for when its dataplane starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Worker threads.
    pub workers: u16,
    /// Ports at one time.
    pub ports: u16,
    /// Rules at one time, each filter's default counted as one.
    pub rules: u32,
}

/// What the control process asks of the dataplane.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Opens a transaction on the generation that the control process believes to be live.
    Begin {
        /// That generation.
        expected: u64,
        /// The generation that the transaction makes; above the live one.
        generation: u64,
    },
    /// Adds to the open transaction.
    Apply(Packed),
    /// Compiles what is in the open transaction, while it is written to disk: the commit takes less.
    Prepare,
    /// Makes everything in the open transaction take effect between two bursts.
    Commit,
    /// Discards the open transaction.
    Abort,
    /// Asks for [`Reply::Status`].
    Status,
    /// Asks for tables of the committed state.
    State {
        /// The tables; the others come empty.
        tables: Vec<Table>,
    },
    /// Asks for the neighbour table.
    Neighbours,
    /// Forgets learnt neighbours; those of the configuration stay.
    FlushNeighbours {
        /// Only on this interface.
        interface: Option<Name>,
        /// Only this address.
        address: Option<IpAddr>,
    },
    /// Asks for the ports.
    Ports,
    /// Asks for the workers.
    Workers,
    /// Asks for the rules and how often they matched.
    Rules,
    /// Asks for the hooks that do not ship with Sluice, and for the programs that can be loaded.
    Hooks,
    /// Asks what is in a file that a hook is to be loaded from.
    HookFile {
        /// Its absolute path.
        path: Name,
    },
    /// Asks for a page of connections.
    Flows {
        /// Where it begins.
        from: FlowPlace,
        /// Which are meant.
        filter: FlowFilter,
    },
    /// Asks for the connection that a packet belongs to.
    Flow {
        /// The packet's instance.
        instance: Name,
        /// The packet's own direction.
        tuple: FlowTuple,
    },
    /// Begins to copy packets as they pass.
    Capture(CaptureRequest),
    /// Asks for what a capture has copied since the last time.
    Captured {
        /// Its number.
        capture: u32,
        /// Whether it is to copy no more; once the last page is read, it is forgotten.
        stop: bool,
    },
    /// Ends connections of a page: their next packets belong to none.
    KillFlows {
        /// Where the page begins.
        from: FlowPlace,
        /// Which are meant.
        filter: FlowFilter,
    },
}

impl Command {
    /// The command's name in errors and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Command::Begin { .. } => "begin",
            Command::Apply(_) => "apply",
            Command::Prepare => "prepare",
            Command::Commit => "commit",
            Command::Abort => "abort",
            Command::Status => "status",
            Command::State { .. } => "state",
            Command::Neighbours => "neighbours",
            Command::FlushNeighbours { .. } => "flush-neighbours",
            Command::Ports => "ports",
            Command::Workers => "workers",
            Command::Rules => "rules",
            Command::Hooks => "hooks",
            Command::HookFile { .. } => "hook-file",
            Command::Flows { .. } => "flows",
            Command::Flow { .. } => "flow",
            Command::KillFlows { .. } => "kill-flows",
            Command::Capture(_) => "capture",
            Command::Captured { .. } => "captured",
        }
    }
}

/// What the dataplane answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply {
    /// It is done, and there is nothing else to say.
    Done,
    /// The transaction took effect.
    Committed {
        /// The generation it made.
        generation: u64,
        /// Workers that had not adopted it when the dataplane stopped waiting for them.
        waiting: Vec<u16>,
    },
    /// Nothing was changed, for these reasons.
    Refused(Vec<String>),
    /// Nothing was changed: the transaction started from a generation that is not the live one.
    Conflict {
        /// The live one.
        generation: u64,
    },
    /// Answers [`Command::Status`].
    Status(Status),
    /// Answers [`Command::State`].
    State(State),
    /// Answers [`Command::Neighbours`].
    Neighbours(Vec<Neighbour>),
    /// Answers [`Command::Ports`].
    Ports(Vec<PortStatus>),
    /// Answers [`Command::Workers`].
    Workers(Vec<WorkerStatus>),
    /// Answers [`Command::Rules`].
    Rules(Vec<RuleStatus>),
    /// Answers [`Command::Hooks`].
    Hooks(HookReport),
    /// Answers [`Command::HookFile`].
    HookFile {
        /// SHA-256 of what is in it, in hexadecimal.
        digest: Name,
    },
    /// Answers [`Command::Flows`], and [`Command::Flow`] with what the workers have: nothing, as a
    /// rule one connection, and more if its packets reach several workers.
    Flows(FlowPage),
    /// Answers [`Command::Capture`].
    Capturing {
        /// The number of the capture.
        capture: u32,
    },
    /// Answers [`Command::Captured`].
    Captured(CapturePage),
    /// Answers [`Command::KillFlows`].
    FlowsKilled {
        /// How many were ended.
        killed: u32,
        /// Where the next page begins; `None` at the end.
        next: Option<FlowPlace>,
    },
}

/// The dataplane as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Generation of the live policy.
    pub generation: u64,
    /// Digests of the state that the live policy was compiled from.
    pub digests: Digests,
    /// The program's version.
    pub version: String,
    /// The program's process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Whether its packet memory is on hugepages.
    pub hugepages: bool,
    /// Packet memory in MiB.
    pub memory_mib: u32,
    /// Packet buffers.
    pub mempools: Vec<MempoolStatus>,
    /// What it was sized for.
    pub limits: Limits,
    /// Neighbours that it can hold.
    pub max_neighbours: u32,
    /// How the last dataplane of this directory ended, if it crashed.
    pub crash: Option<CrashReport>,
}

/// How a dataplane crashed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrashReport {
    /// When, in seconds since 1970.
    pub unix_seconds: u64,
    /// The program's version.
    pub version: String,
    /// The thread: `worker-0`, `agent`.
    pub thread: String,
    /// The core that the thread was pinned to; `None` for the agent.
    pub core: Option<u16>,
    /// The stage that it was in, as far as is known.
    pub stage: Option<String>,
    /// Generation of the policy that it had adopted.
    pub generation: u64,
    /// What it died of.
    pub message: String,
    /// The file with the whole report.
    pub file: String,
    /// The file with the packets that the worker had in hand, if it had any.
    pub packets: Option<String>,
    /// Those of the packets that were in hand in an earlier crash too, each on one line: what most
    /// likely caused both.
    pub poison: Vec<String>,
}

/// One pool of packet buffers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MempoolStatus {
    /// Its name.
    pub name: String,
    /// Buffers that it has.
    pub size: u32,
    /// Buffers that are taken.
    pub in_use: u32,
}

/// What is known about a neighbour's link address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeighbourState {
    /// Asked for, not answered.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// In use, not confirmed lately.
    Stale,
    /// Being asked again.
    Probe,
    /// Did not answer.
    Failed,
    /// Configured.
    Static,
}

/// An entry of the neighbour table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Neighbour {
    /// The interface it is on.
    pub interface: Name,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, once known.
    pub mac: Option<MacAddress>,
    /// What is known of it.
    pub state: NeighbourState,
    /// Seconds since the state last changed or was confirmed.
    pub age_seconds: u64,
}

/// A configured port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its number, which indexes its counters.
    pub id: PortId,
    /// Its name.
    pub name: Name,
    /// DPDK device string.
    pub device: String,
    /// DPDK driver; empty when the device could not be attached.
    pub driver: String,
    /// Link address.
    pub mac: MacAddress,
    /// Whether the link is up. Routes by a port whose link is down are not in use.
    pub link: bool,
    /// Link speed, where it means something.
    pub speed_mbps: Option<u32>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Worker of each receive queue.
    pub workers: Vec<u16>,
    /// Why the port does not run. Routes by such a port are not in use.
    pub error: Option<String>,
}

impl PortStatus {
    /// Whether the dataplane sends by this port: routes by one that it does not send by are
    /// withdrawn ([`Policy::with_down`](sluice_policy::Policy::with_down)).
    pub fn carries(&self) -> bool {
        self.link && self.error.is_none()
    }
}

/// A worker thread.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u16,
    /// The core it is pinned to.
    pub core: u16,
    /// Generation of the policy it has adopted.
    pub generation: u64,
    /// Whether it waits for packets.
    pub sleeping: bool,
    /// Turns of its poll loop.
    pub loops: u64,
    /// Those of the turns that found packets.
    pub busy_loops: u64,
    /// How long it has neither slept nor turned its loop, if that is too long.
    pub stalled_ms: Option<u64>,
    /// Receive queues that it polls: port and queue.
    pub queues: Vec<(Name, u16)>,
}

/// The counters of a rule, of a filter's default action, or of a policy route.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The instance.
    pub instance: Name,
    /// The filter; `None` for a policy route.
    pub point: Option<FilterPoint>,
    /// The rule's name; `default` for the default action.
    pub name: Name,
    /// Place of its counters in the statistics segment.
    pub slot: RuleSlot,
    /// Packets that matched since the rule got its slot.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the dataplane says unasked. A notice may be lost when the control process does not keep
/// up; it is never needed to know the state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Notice {
    /// A port's link changed.
    Link {
        /// The port.
        port: Name,
        /// Whether it is up.
        up: bool,
    },
    /// A port's interface has gone away; its routes are withdrawn until it is back.
    PortLost {
        /// The port.
        port: Name,
        /// What happened.
        reason: String,
    },
    /// A port that was lost runs again.
    PortBack {
        /// The port.
        port: Name,
    },
    /// A neighbour was learnt, moved to another link address, or stopped answering.
    Neighbour {
        /// The interface it is on.
        interface: Name,
        /// Its address.
        address: IpAddr,
        /// Its link address; `None` when it does not answer.
        mac: Option<MacAddress>,
        /// What is known of it.
        state: NeighbourState,
    },
    /// A worker neither sleeps nor turns its loop.
    WorkerStalled {
        /// The worker.
        worker: u16,
        /// The core it is pinned to.
        core: u16,
        /// For how long.
        for_ms: u64,
    },
    /// A worker that had stalled goes on.
    WorkerRecovered {
        /// The worker.
        worker: u16,
        /// The core it is pinned to.
        core: u16,
        /// How long it had stalled.
        for_ms: u64,
    },
    /// An earlier dataplane of this directory crashed; said to the first control process that
    /// attaches.
    Crashed(CrashReport),
    /// A rule that says `log` matched.
    Log(RuleLog),
    /// The dataplane is stopping in good order.
    Stopping,
}

/// One line of a rule's log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleLog {
    /// The instance.
    pub instance: Name,
    /// The filter.
    pub point: FilterPoint,
    /// The rule.
    pub rule: Name,
    /// What it did.
    pub action: Action,
    /// Interface the packet came in by; `None` for the router's own.
    pub input: Option<Name>,
    /// Interface it was to leave by, where that was known.
    pub output: Option<Name>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port, or ICMP type.
    pub source_port: u16,
    /// Destination port, or ICMP code.
    pub destination_port: u16,
    /// Length of the IP packet in bytes.
    pub length: u32,
    /// Matches that the rate limit kept out of the log since the last line.
    pub suppressed: u64,
}
