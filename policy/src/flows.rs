//! What the desired state says about connections: the states that rules match, the limits of rules,
//! and for how long a connection that is silent is remembered.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_flow::Timeouts;
use sluice_flow::limits::{self, Allowance};
use sluice_packet::ConnectionState;

/// How a packet stands to its connection, as rules name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ConnectionState")]
pub enum Standing {
    /// It begins a connection, or goes on with one that nobody has answered yet.
    #[default]
    New,
    /// Of a connection of which packets of both directions were seen.
    Established,
    /// An ICMP error about a connection.
    Related,
    /// It cannot be of any connection.
    Invalid,
    /// It is of a kind that is not tracked.
    Untracked,
}

impl Standing {
    /// All states.
    pub const ALL: [Standing; 5] = [
        Standing::New,
        Standing::Established,
        Standing::Related,
        Standing::Invalid,
        Standing::Untracked,
    ];

    /// The name in the configuration and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Standing::New => "new",
            Standing::Established => "established",
            Standing::Related => "related",
            Standing::Invalid => "invalid",
            Standing::Untracked => "untracked",
        }
    }
}

impl From<Standing> for ConnectionState {
    fn from(state: Standing) -> ConnectionState {
        match state {
            Standing::New => ConnectionState::New,
            Standing::Established => ConnectionState::Established,
            Standing::Related => ConnectionState::Related,
            Standing::Invalid => ConnectionState::Invalid,
            Standing::Untracked => ConnectionState::Untracked,
        }
    }
}

impl From<ConnectionState> for Standing {
    fn from(state: ConnectionState) -> Standing {
        match state {
            ConnectionState::New => Standing::New,
            ConnectionState::Established => Standing::Established,
            ConnectionState::Related => Standing::Related,
            ConnectionState::Invalid => Standing::Invalid,
            ConnectionState::Untracked => Standing::Untracked,
        }
    }
}

/// What a rule allows of the connections that it accepts. What is over a limit is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FlowLimit {
    /// How many may begin.
    pub new_flows: Option<Rate>,
    /// How many may be open at a time from one source address.
    pub flows_per_source: Option<u32>,
}

impl From<FlowLimit> for Allowance {
    fn from(limit: FlowLimit) -> Allowance {
        let FlowLimit { new_flows, flows_per_source } = limit;
        let rate = |Rate { count, seconds, burst }| limits::Rate { count, seconds, burst };
        Allowance { new_flows: new_flows.map(rate), flows_per_source }
    }
}

/// So many in so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
    /// How many at once, after a pause.
    pub burst: u32,
}

impl fmt::Display for Rate {
    /// As the configuration has it, without the burst.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rate { count, seconds, .. } = self;
        match UNITS.iter().find(|(_, unit)| unit == seconds) {
            Some((name, _)) => write!(f, "{count}/{name}"),
            None => write!(f, "{count}/{seconds}s"),
        }
    }
}

/// What a rate may be by.
pub(crate) const UNITS: [(&str, u32); 3] = [("s", 1), ("m", 60), ("h", 3_600)];

macro_rules! timeouts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $field:ident;)*) => {
        /// What a connection may be waiting for when it falls silent.
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum Timeout {
            $($(#[$doc])* $variant,)*
        }

        impl Timeout {
            /// All of them.
            pub const ALL: [Timeout; [$($name,)*].len()] = [$(Timeout::$variant,)*];

            /// The name in the configuration and in every report.
            pub const fn name(self) -> &'static str {
                match self { $(Timeout::$variant => $name,)* }
            }

            /// Its place among all.
            pub(crate) fn of(self, timeouts: &mut Timeouts) -> &mut u32 {
                match self { $(Timeout::$variant => &mut timeouts.$field,)* }
            }
        }
    };
}

timeouts! {
    /// TCP: for the handshake to end.
    TcpOpening = "tcp-opening", tcp_opening;
    /// TCP: for anything, the connection is open.
    TcpEstablished = "tcp-established", tcp_open;
    /// TCP: for the other side to end it, too.
    TcpHalfClosed = "tcp-half-closed", tcp_half_closed;
    /// TCP: for what may still come when both sides have ended it.
    TcpClosing = "tcp-closing", tcp_closing;
    /// TCP: for what may still come after a reset.
    TcpReset = "tcp-reset", tcp_reset;
    /// UDP: for an answer.
    Udp = "udp", udp;
    /// UDP: for anything, it was answered.
    UdpAnswered = "udp-answered", udp_answered;
    /// ICMP queries: for an answer.
    Icmp = "icmp", icmp;
    /// Other protocols.
    Other = "other", other;
}

/// The longest timeout in seconds: a week.
pub const MAX_TIMEOUT: u32 = 7 * 24 * 3_600;
