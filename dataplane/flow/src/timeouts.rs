//! How long a connection may be idle.

use crate::clock::Clock;
use crate::phase::Phase;

/// Seconds of silence in both directions after which a connection is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP: the handshake is not done. RFC 5382 REQ-5 wants no more than 240 s.
    pub tcp_opening: u32,
    /// TCP: open. RFC 5382 REQ-5: at least 2 hours 4 minutes.
    pub tcp_open: u32,
    /// TCP: one side has sent its FIN.
    pub tcp_half_closed: u32,
    /// TCP: both have, or the connection is done but segments may still come. RFC 5382 REQ-5: at
    /// least 4 minutes.
    pub tcp_closing: u32,
    /// TCP: reset.
    pub tcp_reset: u32,
    /// UDP that nobody has answered.
    pub udp: u32,
    /// UDP that was answered. RFC 4787 REQ-5: at least 2 minutes, better 5.
    pub udp_answered: u32,
    /// ICMP queries. RFC 5508 REQ-2: at least 60 s.
    pub icmp: u32,
    /// Other protocols.
    pub other: u32,
}

impl Timeouts {
    /// What holds unless the configuration says otherwise.
    pub const DEFAULT: Timeouts = Timeouts {
        tcp_opening: 60,
        tcp_open: 2 * 3600 + 4 * 60,
        tcp_half_closed: 15 * 60,
        tcp_closing: 4 * 60,
        tcp_reset: 10,
        udp: 30,
        udp_answered: 5 * 60,
        icmp: 60,
        other: 10 * 60,
    };

    /// In ticks, by phase.
    pub(crate) fn ticks(&self, clock: Clock) -> [u32; Phase::COUNT] {
        let mut ticks = [0; Phase::COUNT];
        for phase in Phase::ALL {
            ticks[phase as usize] = clock.ticks(self.of(phase));
        }
        ticks
    }

    fn of(&self, phase: Phase) -> u32 {
        match phase {
            Phase::Syn | Phase::Handshake | Phase::PickedUp => self.tcp_opening,
            Phase::Open => self.tcp_open,
            Phase::HalfClosed => self.tcp_half_closed,
            Phase::Closing | Phase::TimeWait => self.tcp_closing,
            Phase::Reset => self.tcp_reset,
            Phase::Udp => self.udp,
            Phase::UdpAnswered => self.udp_answered,
            Phase::Icmp | Phase::IcmpAnswered => self.icmp,
            Phase::Other | Phase::OtherAnswered => self.other,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conformance_113_what_rfcs_ask_for() {
        let timeouts = Timeouts::default();
        assert!(timeouts.tcp_open >= 2 * 3600 + 4 * 60, "RFC 5382 REQ-5");
        assert!(timeouts.tcp_half_closed >= 240 && timeouts.tcp_closing >= 240, "RFC 5382 REQ-5");
        assert!(timeouts.tcp_opening <= 240, "RFC 5382 REQ-5");
        assert!(timeouts.udp_answered >= 120, "RFC 4787 REQ-5");
        assert!(timeouts.icmp >= 60, "RFC 5508 REQ-2");
    }
}
