//! What TCP segments do to a connection (RFC 9293), and which of them can be of it at all.
//!
//! A segment is in its window when four bounds hold, after Guido van Rooij, "Real Stateful TCP Packet
//! Filtering in IP Filter" (2000). With S its sender and R its receiver, each as seen so far:
//!
//! 1. it ends no later than the largest `ack + window` that R sent (at least one byte, so that a
//!    closed window can be probed),
//! 2. it begins no earlier than the largest window of R before the end of what S has sent (which
//!    lets retransmissions and keep-alives through),
//! 3. it acknowledges nothing that R has not sent,
//! 4. nor what R sent longer ago than S's largest window, or 66,000 bytes.
//!
//! Windows are scaled if both SYNs offered it (RFC 7323 section 2.2). After RFC 5961, a RST counts
//! only where its receiver would act on it at once: at the very next sequence number it awaits; and a
//! SYN in an open connection moves nothing. Both go no further than this: challenge ACKs are the
//! endpoints' business.

use sluice_packet::TcpSegment;
use sluice_packet::tcp::{ACK, FIN, RST, SYN};

use crate::phase::Phase;
use crate::table::Strictness;

/// Bound 4 of a sender with small windows.
const OLDEST_ACK: u32 = 66_000;

/// It has sent a SYN.
const SENT_SYN: u8 = 1 << 0;
/// Its SYN was acknowledged.
const SYN_ACKED: u8 = 1 << 1;
/// It has sent a FIN.
const SENT_FIN: u8 = 1 << 2;
/// Its FIN was acknowledged.
const FIN_ACKED: u8 = 1 << 3;
/// It has acknowledged something.
const HAS_ACKED: u8 = 1 << 4;
/// Its SYN offered to scale windows.
const OFFERED_SCALE: u8 = 1 << 5;

/// What is known of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Peer {
    /// The sequence number behind all it has sent.
    end: u32,
    /// How far the other side lets it send.
    max_end: u32,
    /// Its largest window.
    max_window: u32,
    /// The largest number it has acknowledged, if it has.
    max_ack: u32,
    /// Bytes it has sent behind its SYN before that was acknowledged.
    early: u16,
    /// The shift of its windows.
    scale: u8,
    flags: u8,
}

/// What becomes of a segment of a known connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is of the connection.
    Passes,
    /// It cannot be, and moves nothing.
    Invalid,
    /// The connection is over, and this begins the next one with the same key.
    Reopens,
}

/// The TCP part of a connection's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tcp {
    peers: [Peer; 2],
    phase: Phase,
    /// It was picked up in mid-stream, or left its windows while nobody minded: its scales or its
    /// sequence numbers are not known for sure, so no segment is out of window.
    liberal: bool,
    /// A SYN has begun it in the place of one that was over. Whether policy has let that SYN through
    /// is not known here, so nothing but an answer to it counts as one.
    reopened: bool,
}

/// Whether the flags go together. Scanners send others, endpoints do not.
pub(crate) fn flags_make_sense(flags: u8) -> bool {
    matches!(flags & (FIN | SYN | RST | ACK), SYN | ACK | RST)
        || matches!(flags & (FIN | SYN | RST), SYN | FIN | RST | 0) && flags & ACK != 0
}

/// Whether it is a SYN that opens a connection: no ACK, no FIN, no RST.
#[inline]
pub(crate) fn opens(flags: u8) -> bool {
    flags & (FIN | SYN | RST | ACK) == SYN
}

impl Tcp {
    /// What is not TCP has its phase here, and nothing else.
    pub(crate) const fn other(phase: Phase) -> Tcp {
        const NOBODY: Peer =
            Peer { end: 0, max_end: 0, max_window: 0, max_ack: 0, early: 0, scale: 0, flags: 0 };
        Tcp { peers: [NOBODY; 2], phase, liberal: false, reopened: false }
    }

    /// A connection of its first segment, which came from side `from`.
    pub(crate) fn begin(from: usize, segment: &TcpSegment) -> Tcp {
        let mut tcp = Tcp::other(Phase::Syn);
        if opens(segment.flags) {
            tcp.peers[from & 1] = Peer::syn(segment);
            return tcp;
        }
        tcp.phase = Phase::PickedUp;
        tcp.liberal = true;
        let end = segment.end();
        for peer in &mut tcp.peers {
            peer.flags = SENT_SYN | SYN_ACKED;
        }
        let (sender, receiver) = tcp.sides(from);
        (sender.end, sender.max_end) = (end, end);
        receiver.end = segment.acknowledgement;
        receiver.max_end = segment.acknowledgement;
        settle(sender, receiver, segment, end, segment.window.into());
        tcp
    }

    /// A connection that a SYN begins in the place of one that is over.
    pub(crate) fn reopen(from: usize, segment: &TcpSegment) -> Tcp {
        Tcp { reopened: true, ..Tcp::begin(from, segment) }
    }

    #[inline(always)]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Sender and receiver of what side `from` sends.
    #[inline(always)]
    fn sides(&mut self, from: usize) -> (&mut Peer, &mut Peer) {
        let [a, b] = &mut self.peers;
        if from & 1 == 0 { (a, b) } else { (b, a) }
    }

    /// Takes a segment from side `from`; `reply` says that this side answered when the connection
    /// began, `cut` that the segment is the first fragment of a longer one.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        from: usize,
        reply: bool,
        segment: &TcpSegment,
        cut: bool,
        strictness: Strictness,
    ) -> Verdict {
        if segment.flags & (FIN | SYN | RST | ACK) == ACK && self.phase == Phase::Open && !cut {
            return self.exchange(from, segment, strictness);
        }
        self.advance_rarely(from, reply, segment, cut, strictness)
    }

    /// A segment in an open connection that neither opens nor closes anything.
    #[inline(always)]
    fn exchange(&mut self, from: usize, segment: &TcpSegment, strictness: Strictness) -> Verdict {
        let liberal = self.liberal;
        let (sender, receiver) = self.sides(from);
        let end = segment.end();
        let window = u32::from(segment.window) << sender.scale;
        let out = !in_window(sender, receiver, segment, end, Some(segment.acknowledgement));
        if out {
            if strictness == Strictness::Strict && !liberal {
                return Verdict::Invalid;
            }
            sender.end = end;
        }
        settle(sender, receiver, segment, end, window);
        self.liberal |= out;
        Verdict::Passes
    }

    #[cold]
    #[inline(never)]
    fn advance_rarely(
        &mut self,
        from: usize,
        reply: bool,
        segment: &TcpSegment,
        cut: bool,
        strictness: Strictness,
    ) -> Verdict {
        let verdict = if !flags_make_sense(segment.flags) {
            Verdict::Invalid
        } else if segment.flags & RST != 0 {
            self.reset(from, reply, segment)
        } else if segment.flags & (SYN | ACK) == SYN {
            self.syn(from, reply, segment)
        } else if segment.flags & SYN != 0 {
            self.syn_ack(from, reply, segment)
        } else {
            self.acknowledge(from, reply, segment, cut)
        };
        if verdict != Verdict::Invalid || strictness == Strictness::Strict {
            return verdict;
        }
        // Nobody minds: what it says is taken as it is, and nothing is held against it later.
        if segment.flags & (RST | SYN) == 0 && flags_make_sense(segment.flags) {
            self.liberal = true;
            if self.phase == Phase::Syn {
                self.phase = Phase::PickedUp;
            }
            for peer in &mut self.peers {
                peer.flags |= SENT_SYN | SYN_ACKED;
            }
            let again = self.acknowledge(from, reply, segment, cut);
            debug_assert_eq!(again, Verdict::Passes);
        }
        Verdict::Passes
    }

    /// A SYN without ACK.
    fn syn(&mut self, from: usize, reply: bool, segment: &TcpSegment) -> Verdict {
        match self.phase {
            // Sent again, or given up and tried anew before anybody answered.
            Phase::Syn if !reply => {
                *self = Tcp { reopened: self.reopened, ..Tcp::begin(from, segment) };
            }
            Phase::Syn if self.reopened => return Verdict::Reopens,
            // Simultaneous open (RFC 9293 section 3.5, figure 7).
            Phase::Syn => {
                let (sender, receiver) = self.sides(from);
                *sender = Peer::syn(segment);
                sender.max_end = sender.end.wrapping_add(receiver.max_window);
                receiver.max_end = receiver.end.wrapping_add(sender.max_window);
                agree_on_scales(sender, receiver);
                self.phase = Phase::Handshake;
            }
            Phase::Reset | Phase::PickedUp => return Verdict::Reopens,
            // RFC 9293 section 3.6.1, RFC 1122 section 4.2.2.13.
            Phase::TimeWait if after(segment.sequence, self.peers[from & 1].end) => {
                return Verdict::Reopens;
            }
            // RFC 5961 section 4: the endpoint says that it is open, and who has forgotten resets.
            _ => {}
        }
        Verdict::Passes
    }

    fn syn_ack(&mut self, from: usize, reply: bool, segment: &TcpSegment) -> Verdict {
        let phase = self.phase;
        let liberal = self.liberal;
        let (sender, receiver) = self.sides(from);
        match phase {
            Phase::Syn if reply && receiver.has_sent(segment.acknowledgement) => {
                let own = Peer::syn(segment);
                *sender = Peer { max_end: own.end.wrapping_add(receiver.max_window), ..own };
                receiver.flags |= SYN_ACKED;
                receiver.max_end = segment.acknowledgement;
                agree_on_scales(sender, receiver);
                settle(sender, receiver, segment, own.end, segment.window.into());
                self.phase = Phase::Handshake;
                Verdict::Passes
            }
            Phase::Syn => Verdict::Invalid,
            // Sent again, or the second half of a simultaneous open.
            Phase::Handshake => {
                let start = sender.end.wrapping_sub(u32::from(sender.early)).wrapping_sub(1);
                if segment.sequence != start || !receiver.has_sent(segment.acknowledgement) {
                    return Verdict::Invalid;
                }
                receiver.flags |= SYN_ACKED;
                settle(sender, receiver, segment, segment.end(), segment.window.into());
                self.open_if_acknowledged();
                Verdict::Passes
            }
            // Too late for a handshake: it moves nothing.
            _ => {
                let ack = Some(segment.acknowledgement);
                let old = segment.sequence.wrapping_add(1);
                let fits = in_window(sender, receiver, segment, old, ack);
                if fits || liberal { Verdict::Passes } else { Verdict::Invalid }
            }
        }
    }

    fn reset(&mut self, from: usize, reply: bool, segment: &TcpSegment) -> Verdict {
        let phase = self.phase;
        let liberal = self.liberal;
        let (sender, receiver) = self.sides(from);
        let valid = match phase {
            // RFC 9293 section 3.10.7.3: an answer to a SYN must acknowledge it.
            Phase::Syn if reply => segment.has(ACK) && receiver.has_sent(segment.acknowledgement),
            // RFC 5961 section 3.2: the next number that the receiver awaits, which is behind all
            // that was seen of the sender, or, where some of that was lost on the way to it, what it
            // last acknowledged.
            _ => {
                segment.sequence == sender.end
                    || receiver.flags & HAS_ACKED != 0 && segment.sequence == receiver.max_ack
                    || liberal
            }
        };
        if !valid {
            return Verdict::Invalid;
        }
        // RFC 1337: a RST does not cut TIME-WAIT short.
        if phase != Phase::TimeWait {
            self.phase = Phase::Reset;
        }
        Verdict::Passes
    }

    /// All that has an ACK and no SYN or RST.
    fn acknowledge(
        &mut self,
        from: usize,
        reply: bool,
        segment: &TcpSegment,
        cut: bool,
    ) -> Verdict {
        let Tcp { phase, liberal, reopened, .. } = *self;
        let (sender, receiver) = self.sides(from);
        if phase == Phase::Syn {
            if reply && !reopened {
                // Who still holds the connection before this one acknowledges that; the RST that
                // this draws begins there (RFC 9293 section 3.5.1, figure 9).
                sender.max_ack = segment.acknowledgement;
                sender.flags |= HAS_ACKED;
                return Verdict::Passes;
            }
            return Verdict::Invalid;
        }
        let end = segment.end();
        let fits = in_window(sender, receiver, segment, end, Some(segment.acknowledgement));
        // A handshake is done by who has seen the SYN, and not by a near guess.
        let greets = receiver.flags & SYN_ACKED != 0 || receiver.has_sent(segment.acknowledgement);
        if !(fits && greets) {
            if !liberal {
                return Verdict::Invalid;
            }
            sender.end = end;
        }
        let window = u32::from(segment.window) << sender.scale;
        receiver.flags |= SYN_ACKED;
        settle(sender, receiver, segment, end, window);
        if cut {
            // How long the whole segment is, its last fragment will say; nobody reads that.
            let longest = segment.sequence.wrapping_add(u16::MAX.into());
            let bound = if after(longest, sender.max_end) { sender.max_end } else { longest };
            sender.end = if after(bound, sender.end) { bound } else { sender.end };
        }
        if segment.has(FIN) {
            sender.flags |= SENT_FIN;
        }
        if receiver.flags & SENT_FIN != 0 && segment.acknowledgement == receiver.end {
            receiver.flags |= FIN_ACKED;
        }
        if phase == Phase::PickedUp && reply {
            self.phase = Phase::Open;
        }
        self.open_if_acknowledged();
        self.close_if_finished();
        Verdict::Passes
    }

    fn open_if_acknowledged(&mut self) {
        let [a, b] = &self.peers;
        if self.phase == Phase::Handshake && a.flags & b.flags & SYN_ACKED != 0 {
            self.phase = Phase::Open;
        }
    }

    fn close_if_finished(&mut self) {
        if !matches!(self.phase, Phase::Open | Phase::HalfClosed | Phase::Closing) {
            return;
        }
        let [a, b] = &self.peers;
        self.phase = if a.flags & b.flags & FIN_ACKED != 0 {
            Phase::TimeWait
        } else if a.flags & b.flags & SENT_FIN != 0 {
            Phase::Closing
        } else if (a.flags | b.flags) & SENT_FIN != 0 {
            Phase::HalfClosed
        } else {
            self.phase
        };
    }

    /// Whether side `from` may have sent what begins at `sequence` lately (RFC 5927 section 4.1):
    /// asked of segments that ICMP errors quote.
    pub(crate) fn may_have_sent(&self, from: usize, sequence: u32) -> bool {
        let (sender, receiver) = (&self.peers[from & 1], &self.peers[from & 1 ^ 1]);
        let oldest = sender.end.wrapping_sub(receiver.max_window.max(1));
        self.liberal || !after(sequence, sender.end) && !after(oldest, sequence)
    }
}

impl Peer {
    /// Who sends this SYN.
    fn syn(segment: &TcpSegment) -> Peer {
        let end = segment.end();
        Peer {
            end,
            max_end: end,
            max_window: u32::from(segment.window).max(1),
            early: segment.payload,
            scale: segment.scale.unwrap_or(0),
            flags: SENT_SYN | if segment.scale.is_some() { OFFERED_SCALE } else { 0 },
            ..Peer::default()
        }
    }

    /// Whether the number acknowledges its SYN, and perhaps what it has sent since, exactly.
    fn has_sent(&self, acknowledgement: u32) -> bool {
        self.end.wrapping_sub(acknowledgement) <= u32::from(self.early)
    }
}

/// RFC 7323 section 2.2: both or none.
fn agree_on_scales(a: &mut Peer, b: &mut Peer) {
    if a.flags & b.flags & OFFERED_SCALE == 0 {
        (a.scale, b.scale) = (0, 0);
    }
}

/// The four bounds.
#[inline(always)]
fn in_window(
    sender: &Peer,
    receiver: &Peer,
    segment: &TcpSegment,
    end: u32,
    acknowledgement: Option<u32>,
) -> bool {
    let data = !after(end, sender.max_end)
        & !after(sender.end.wrapping_sub(receiver.max_window), segment.sequence);
    let Some(acknowledgement) = acknowledgement else { return data };
    let oldest = receiver.end.wrapping_sub(sender.max_window.max(OLDEST_ACK));
    data & !after(acknowledgement, receiver.end) & !after(oldest, acknowledgement)
}

/// Notes what a segment with an ACK says of both sides; `window` is scaled.
#[inline(always)]
fn settle(sender: &mut Peer, receiver: &mut Peer, segment: &TcpSegment, end: u32, window: u32) {
    let window = window.max(1);
    sender.max_window = sender.max_window.max(window);
    if after(end, sender.end) {
        if sender.flags & SYN_ACKED == 0 {
            let more = end.wrapping_sub(sender.end).min(u16::MAX.into()) as u16;
            sender.early = sender.early.saturating_add(more);
        }
        sender.end = end;
    }
    if sender.flags & HAS_ACKED == 0 || after(segment.acknowledgement, sender.max_ack) {
        sender.max_ack = segment.acknowledgement;
        sender.flags |= HAS_ACKED;
    }
    let bound = segment.acknowledgement.wrapping_add(window);
    if after(bound, receiver.max_end) {
        receiver.max_end = bound;
    }
}

/// Whether sequence number `a` is behind `b` (RFC 9293 section 3.4).
#[inline(always)]
fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
