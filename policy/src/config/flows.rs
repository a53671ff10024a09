//! How connections are kept: the section `flows`, and what it says of the desired state.

use schemars::JsonSchema;
use serde::Deserialize;

use super::kinds::Seconds;
use super::node::One;
use super::reader::Reader;
use crate::model::{State, Timeout};

/// How connections are kept.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Flows")]
pub(super) struct FlowsDocument {
    /// For how long a connection is remembered that is silent.
    timeouts: Option<TimeoutsDocument>,
}

/// For how long a connection is remembered that is silent, such as 2h4m or 90s.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Timeouts")]
struct TimeoutsDocument {
    /// TCP until the handshake is done; 60s if left out.
    tcp_opening: Option<One<Seconds>>,
    /// TCP that is open; 2h4m if left out.
    tcp_established: Option<One<Seconds>>,
    /// TCP that one side has ended; 15m if left out.
    tcp_half_closed: Option<One<Seconds>>,
    /// TCP that both sides have ended; 4m if left out.
    tcp_closing: Option<One<Seconds>>,
    /// TCP that was reset; 10s if left out.
    tcp_reset: Option<One<Seconds>>,
    /// UDP that nobody has answered; 30s if left out.
    udp: Option<One<Seconds>>,
    /// UDP that was answered; 5m if left out.
    udp_answered: Option<One<Seconds>>,
    /// ICMP queries; 60s if left out.
    icmp: Option<One<Seconds>>,
    /// Other protocols; 10m if left out.
    other: Option<One<Seconds>>,
}

impl TimeoutsDocument {
    /// What is given of a timeout.
    fn of(&self, timeout: Timeout) -> &Option<One<Seconds>> {
        match timeout {
            Timeout::TcpOpening => &self.tcp_opening,
            Timeout::TcpEstablished => &self.tcp_established,
            Timeout::TcpHalfClosed => &self.tcp_half_closed,
            Timeout::TcpClosing => &self.tcp_closing,
            Timeout::TcpReset => &self.tcp_reset,
            Timeout::Udp => &self.udp,
            Timeout::UdpAnswered => &self.udp_answered,
            Timeout::Icmp => &self.icmp,
            Timeout::Other => &self.other,
        }
    }
}

/// Converts the section.
pub(super) fn convert(document: &FlowsDocument, state: &mut State, reader: &mut Reader) {
    let Some(timeouts) = &document.timeouts else { return };
    for timeout in Timeout::ALL {
        let seconds = reader.one("flows.timeouts", timeout.name(), timeouts.of(timeout));
        if let Some(seconds) = seconds {
            state.timeouts.insert(timeout, seconds);
        }
    }
}
