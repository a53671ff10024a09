//! Where a connection stands in its life, and which go first when the table is full.

use sluice_packet::protocol;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// TCP: a SYN was seen.
    Syn,
    /// TCP: the SYN was answered by a SYN, with or without ACK.
    Handshake,
    /// TCP: begun before anybody looked; one direction was seen.
    PickedUp,
    /// TCP: both SYNs are acknowledged.
    Open,
    /// TCP: one side has sent its FIN.
    HalfClosed,
    /// TCP: both sides have.
    Closing,
    /// TCP: both FINs are acknowledged.
    TimeWait,
    /// TCP: a valid RST was seen.
    Reset,
    /// UDP: nobody has answered.
    Udp,
    /// UDP: answered.
    UdpAnswered,
    /// A query of ICMP or ICMPv6 that nobody has answered.
    Icmp,
    /// A query that was answered.
    IcmpAnswered,
    /// Another protocol, not answered.
    Other,
    /// Another protocol, answered.
    OtherAnswered,
}

/// Which connections make room when the table is full: in this order, of each class the oldest.
/// What is `Open` never does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Nobody has answered, or the handshake is not done: what floods are made of.
    HalfOpen = 0,
    /// TCP that is closed or closing.
    Closing = 1,
    /// UDP and all else without connections, answered; goes when idle for half a minute.
    Idle = 2,
    /// TCP that is open, half-closed included.
    Open = 3,
}

impl Phase {
    /// How many there are.
    pub(crate) const COUNT: usize = Phase::ALL.len();

    /// All of them, in order.
    pub const ALL: [Phase; 14] = [
        Phase::Syn,
        Phase::Handshake,
        Phase::PickedUp,
        Phase::Open,
        Phase::HalfClosed,
        Phase::Closing,
        Phase::TimeWait,
        Phase::Reset,
        Phase::Udp,
        Phase::UdpAnswered,
        Phase::Icmp,
        Phase::IcmpAnswered,
        Phase::Other,
        Phase::OtherAnswered,
    ];

    /// What the first packet of a protocol other than TCP begins.
    pub(crate) fn first(protocol: u8) -> Phase {
        match protocol {
            protocol::UDP | protocol::UDP_LITE => Phase::Udp,
            protocol::ICMP | protocol::ICMPV6 => Phase::Icmp,
            _ => Phase::Other,
        }
    }

    /// What a connection without handshake becomes by an answer.
    pub(crate) fn answered(self) -> Phase {
        match self {
            Phase::Udp => Phase::UdpAnswered,
            Phase::Icmp => Phase::IcmpAnswered,
            Phase::Other => Phase::OtherAnswered,
            other => other,
        }
    }

    /// When it goes.
    #[inline]
    pub fn class(self) -> Class {
        match self {
            Phase::Syn
            | Phase::Handshake
            | Phase::PickedUp
            | Phase::Udp
            | Phase::Icmp
            | Phase::Other => Class::HalfOpen,
            Phase::Closing | Phase::TimeWait | Phase::Reset => Class::Closing,
            Phase::UdpAnswered | Phase::IcmpAnswered | Phase::OtherAnswered => Class::Idle,
            Phase::Open | Phase::HalfClosed => Class::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_numbered_in_order() {
        for (i, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, i);
        }
    }
}
