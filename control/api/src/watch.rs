//! What happens while it happens: `GET /v1/watch` answers with one [`WatchEvent`] a line, for as
//! long as the reader stays.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::model::{Action, FilterPoint, MacAddress, Name};

use crate::Commit;

/// One line of `GET /v1/watch`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WatchEvent {
    /// When, by the clock on the wall: RFC 3339, UTC.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub event: WatchKind,
}

/// What happened. A reader passes over an event that it does not know.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum WatchKind {
    /// Something took effect.
    Commit {
        /// What; with what waits for its confirmation, if it does.
        commit: Commit,
    },
    /// What waited for its confirmation was confirmed.
    Confirm {
        /// The generation that stays.
        generation: u64,
        /// Who confirmed.
        author: String,
    },
    /// An earlier state was brought back, on demand or because nobody confirmed.
    RolledBack {
        /// The commit that brought it back; its kind says which state and why.
        commit: Commit,
    },
    /// A dataplane is attached and runs what is desired.
    DataplaneAttached {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
        /// The generation that it runs.
        generation: u64,
    },
    /// The dataplane is gone, or does not answer.
    DataplaneLost {
        /// How that is known.
        reason: String,
    },
    /// The dataplane found what its predecessor left when it crashed.
    Crashed {
        /// What is known of the crash, in one line.
        report: String,
    },
    /// A port's link changed.
    Link {
        /// The port.
        port: Name,
        /// Whether it is up.
        up: bool,
    },
    /// A port's device vanished.
    PortLost {
        /// The port.
        port: Name,
        /// How that is known.
        reason: String,
    },
    /// A port's device is back, and the port with it.
    PortBack {
        /// The port.
        port: Name,
    },
    /// What is known of a neighbour changed.
    Neighbour {
        /// The interface it is on.
        interface: Name,
        /// Its address.
        address: IpAddr,
        /// Its link address, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<MacAddress>,
        /// `reachable`, `stale`, `failed`: as in `GET /v1/neighbours`.
        state: String,
    },
    /// More packets are dropped for one reason than the reader asked to be told of.
    Drops {
        /// The reason's name, as in `GET /v1/drops`.
        reason: String,
        /// Packets a second, over the last second.
        rate: u64,
        /// What the reader asked for.
        threshold: u64,
    },
    /// A rule that says `log` matched.
    RuleLog {
        /// The instance.
        instance: Name,
        /// The filter.
        point: FilterPoint,
        /// The rule.
        rule: Name,
        /// What it did.
        action: Action,
        /// Interface the packet came in by; none for the router's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Name>,
        /// Interface it was to leave by, where that was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Name>,
        /// Source address.
        source: IpAddr,
        /// Destination address.
        destination: IpAddr,
        /// IP protocol.
        protocol: u8,
        /// Source port, or ICMP type.
        source_port: u16,
        /// Destination port, or ICMP code.
        destination_port: u16,
        /// Length of the IP packet in bytes.
        length: u32,
        /// Matches that the rate limit kept out since the last line.
        suppressed: u64,
    },
    /// A worker neither forwards nor sleeps.
    WorkerStalled {
        /// The worker.
        worker: u16,
        /// Its core.
        core: u16,
        /// For how long.
        for_ms: u64,
    },
    /// A worker that was stalled goes on.
    WorkerRecovered {
        /// The worker.
        worker: u16,
    },
    /// The dataplane's agent does not go round: packets are forwarded, nothing else is done.
    AgentStalled {
        /// For how long.
        for_ms: u64,
    },
    /// The agent goes on.
    AgentRecovered,
    /// Commits cannot be kept on disk, or can be again.
    Persistence {
        /// What is wrong; none when it is right again.
        problem: Option<String>,
    },
    /// The reader did not keep up.
    Missed {
        /// Events that it did not get.
        count: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_line() {
        let event = WatchEvent {
            time: "2026-01-02T03:04:05Z".into(),
            event: WatchKind::Link { port: "lan".into(), up: false },
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"time":"2026-01-02T03:04:05Z","event":"link","port":"lan","up":false}"#
        );
        assert_eq!(serde_json::from_str::<WatchEvent>(&line).unwrap(), event);
    }

    #[test]
    fn an_event_without_fields_reads_back() {
        let line = r#"{"time":"2026-01-02T03:04:05Z","event":"agent-recovered"}"#;
        let event: WatchEvent = serde_json::from_str(line).unwrap();
        assert_eq!(event.event, WatchKind::AgentRecovered);
    }
}
