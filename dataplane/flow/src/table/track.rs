//! What a packet does to its connection.

use sluice_packet::{ConnectionState, Descriptor, Fragment, TcpSegment, protocol};

use super::{Strictness, Table};
use crate::half::{ANSWERED, Half, HalfId, REPLY, STEADY, TOTALS};
use crate::phase::Phase;
use crate::state::{Count, State};
use crate::tcp::{Tcp, Verdict};

impl Table {
    /// Notes a packet of a known connection: when it came, packets and bytes of its direction, what
    /// it does to TCP. Says what it is: New until somebody has answered, Established from then on,
    /// Invalid if it cannot be of this connection, in which case nothing is noted.
    ///
    /// A SYN that reopens a connection that is over is New: both halves have forgotten what was
    /// decided, and the half of this packet is the original one from now on.
    ///
    /// # Panics
    /// For [`HalfId::NONE`].
    #[inline]
    pub fn track(
        &mut self,
        id: HalfId,
        d: &Descriptor,
        segment: Option<&TcpSegment>,
        strictness: Strictness,
        now: u64,
    ) -> ConnectionState {
        let tick = self.clock.tick(now);
        if d.key.protocol == protocol::TCP
            && let Some(segment) = segment
        {
            return self.track_tcp(id, d, segment, strictness, tick);
        }
        self.take(id, d.l3_length, tick)
    }

    /// What [`Table::track`] does to packets of a direction that is [steady](Half::is_steady). `None`
    /// for the others, of which nothing is noted.
    ///
    /// # Panics
    /// For [`HalfId::NONE`].
    #[inline(always)]
    pub fn pass(&mut self, id: HalfId, d: &Descriptor, now: u64) -> Option<ConnectionState> {
        let half = &self.halves[id.index()];
        if !half.is_steady() {
            return None;
        }
        let state = half.state_of_packets();
        self.note(id, d.l3_length, self.clock.tick(now));
        Some(state)
    }

    /// Notes a packet that is of the connection, which may be the first answer.
    fn take(&mut self, id: HalfId, length: u16, tick: u32) -> ConnectionState {
        let half = &self.halves[id.index()];
        let state = half.state_of_packets();
        if half.flags & (REPLY | ANSWERED) == REPLY {
            self.answer(id);
        }
        self.note(id, length, tick);
        state
    }

    fn track_tcp(
        &mut self,
        id: HalfId,
        d: &Descriptor,
        segment: &TcpSegment,
        strictness: Strictness,
        tick: u32,
    ) -> ConnectionState {
        let connection = id.connection();
        let flags = self.halves[id.index()].flags;
        let tcp = &mut self.states[connection as usize].tcp;
        let before = tcp.phase();
        let cut = d.fragment == Fragment::First;
        match tcp.advance(id.side(), flags & REPLY != 0, segment, cut, strictness) {
            Verdict::Invalid => return ConnectionState::Invalid,
            Verdict::Reopens => {
                self.reopen(id, segment, tick);
                self.note(id, d.l3_length, tick);
                return ConnectionState::New;
            }
            Verdict::Passes => {}
        }
        let after = tcp.phase();
        if after != before {
            self.reclass(connection, before, after);
        }
        self.take(id, d.l3_length, tick)
    }

    /// Counts a packet.
    #[inline(always)]
    pub(super) fn note(&mut self, id: HalfId, length: u16, tick: u32) {
        let half = &mut self.halves[id.index()];
        if half.note(length, tick) {
            carry(half, &mut self.totals[id.connection() as usize][id.side()]);
        }
    }

    /// The first packet of the answering direction.
    #[cold]
    fn answer(&mut self, id: HalfId) {
        for id in [id, id.other()] {
            let half = &mut self.halves[id.index()];
            half.flags |= ANSWERED;
            if half.key.protocol() != protocol::TCP {
                half.flags |= STEADY;
            }
        }
        let tcp = &mut self.states[id.connection() as usize].tcp;
        let before = tcp.phase();
        let after = before.answered();
        if after != before {
            tcp.set_phase(after);
            self.reclass(id.connection(), before, after);
        }
    }

    /// Another phase may be another class.
    fn reclass(&mut self, connection: u32, before: Phase, after: Phase) {
        let (before, after) = (before.class(), after.class());
        if before != after {
            self.lists.take(&mut self.states, before, connection);
            self.lists.push(&mut self.states, after, connection);
        }
    }

    /// A connection with the key of one that is over.
    #[cold]
    fn reopen(&mut self, id: HalfId, segment: &TcpSegment, tick: u32) {
        let connection = id.connection();
        self.release(connection);
        let state = &mut self.states[connection as usize];
        let before = state.tcp.phase();
        let tcp = Tcp::reopen(id.side(), segment);
        let State { next, previous, .. } = *state;
        *state = State { next, previous, ..State::new(tcp, tick) };
        for (id, flags) in [(id, 0), (id.other(), REPLY)] {
            let half = &mut self.halves[id.index()];
            *half = Half::new(half.key, flags, tick);
        }
        self.reclass(connection, before, tcp.phase());
        self.counters.reopened += 1;
    }
}

/// Brings the counters of a half, before they run over, to its connection's totals.
#[cold]
pub(super) fn carry(half: &mut Half, total: &mut Count) {
    if !half.has_totals() {
        half.flags |= TOTALS;
        *total = Count::default();
    }
    total.packets = total.packets.wrapping_add(half.packets.into());
    total.bytes = total.bytes.wrapping_add(half.bytes.into());
    (half.packets, half.bytes) = (0, 0);
}
