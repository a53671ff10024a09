//! The dataplane's connections, asked for a page at a time.

use std::time::{Duration, Instant};

use sluice_channel::{
    self as channel, Command, FlowFilter, FlowPlace, FlowStatus, FlowTuple, Reply,
};
use sluice_control_api::{Flow, FlowDirection, FlowSelection, FlowState, RememberedWay};
use sluice_policy::explain::{LinkDestination, Query, Remembered, RouteQuery};
use sluice_policy::model::{Name, Standing};

use crate::app::App;
use crate::error::ControlError;

/// How long all pages of one request may take. Tables of some millions take a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which connections the dataplane is asked for.
pub(crate) fn filter(selection: FlowSelection) -> FlowFilter {
    FlowFilter {
        instance: selection.instance,
        source: selection.src,
        destination: selection.dst,
        protocol: selection.proto,
        port: selection.port,
        state: selection.state.map(|state| match state {
            FlowState::SynSent => channel::FlowState::SynSent,
            FlowState::SynReceived => channel::FlowState::SynReceived,
            FlowState::PickedUp => channel::FlowState::PickedUp,
            FlowState::Established => channel::FlowState::Established,
            FlowState::HalfClosed => channel::FlowState::HalfClosed,
            FlowState::Closing => channel::FlowState::Closing,
            FlowState::TimeWait => channel::FlowState::TimeWait,
            FlowState::Reset => channel::FlowState::Reset,
            FlowState::Unanswered => channel::FlowState::Unanswered,
            FlowState::Answered => channel::FlowState::Answered,
        }),
    }
}

/// A connection as it is told.
pub(crate) fn told(status: FlowStatus) -> Flow {
    let FlowTuple { source, destination, protocol, source_port, destination_port, icmp_type } =
        status.tuple;
    Flow {
        instance: status.instance,
        worker: status.place.worker,
        protocol,
        source,
        source_port,
        destination,
        destination_port,
        icmp_type: matches!(protocol, ICMP | ICMPV6).then_some(icmp_type),
        state: state(status.state),
        age_ms: status.age_ms,
        idle_ms: status.idle_ms,
        expires_ms: status.expires_ms,
        original: direction(status.original),
        reply: direction(status.reply),
        rate: None,
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST6: u8 = 128;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn state(state: channel::FlowState) -> FlowState {
    match state {
        channel::FlowState::SynSent => FlowState::SynSent,
        channel::FlowState::SynReceived => FlowState::SynReceived,
        channel::FlowState::PickedUp => FlowState::PickedUp,
        channel::FlowState::Established => FlowState::Established,
        channel::FlowState::HalfClosed => FlowState::HalfClosed,
        channel::FlowState::Closing => FlowState::Closing,
        channel::FlowState::TimeWait => FlowState::TimeWait,
        channel::FlowState::Reset => FlowState::Reset,
        channel::FlowState::Unanswered => FlowState::Unanswered,
        channel::FlowState::Answered => FlowState::Answered,
    }
}

fn direction(direction: channel::FlowDirection) -> FlowDirection {
    let channel::FlowDirection { packets, bytes, way } = direction;
    let way = way.map(|way| RememberedWay {
        ingress: way.ingress,
        egress: way.egress,
        next_hop: way.next_hop,
        rules: way.rules,
    });
    FlowDirection { packets, bytes, way }
}

/// Where a walk over all tables stands.
struct Pages {
    next: Option<FlowPlace>,
    deadline: Instant,
}

impl Pages {
    fn new() -> Pages {
        Pages { next: Some(FlowPlace::default()), deadline: Instant::now() + PATIENCE }
    }

    /// The next page's place; none at the end, or when time is up.
    fn next(&self) -> Option<FlowPlace> {
        self.next.filter(|_| Instant::now() < self.deadline)
    }

    /// Goes on. A dataplane that does not would have us ask forever.
    fn advance(&mut self, to: Option<FlowPlace>, asked: &'static str) -> Result<(), ControlError> {
        if to.is_some() && to <= self.next {
            return Err(ControlError::Unexpected { command: asked });
        }
        self.next = to;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.next.is_none()
    }
}

impl App {
    /// Shows every connection that is meant. Says whether every table was looked at to its end.
    pub(crate) async fn each_flow(
        &self,
        filter: &FlowFilter,
        mut show: impl FnMut(FlowStatus),
    ) -> Result<bool, ControlError> {
        let mut pages = Pages::new();
        while let Some(from) = pages.next() {
            let command = Command::Flows { from, filter: filter.clone() };
            let name = command.name();
            match self.ask(command).await? {
                Reply::Flows(page) => {
                    page.flows.into_iter().for_each(&mut show);
                    pages.advance(page.next, name)?;
                }
                other => return Err(unwilling(other, name)),
            }
        }
        Ok(pages.is_complete())
    }

    /// Ends every connection that is meant. Says how many, and whether every table was looked at
    /// to its end.
    pub(crate) async fn kill_flows(
        &self,
        filter: &FlowFilter,
    ) -> Result<(u64, bool), ControlError> {
        let mut pages = Pages::new();
        let mut all = 0;
        while let Some(from) = pages.next() {
            let command = Command::KillFlows { from, filter: filter.clone() };
            let name = command.name();
            match self.ask(command).await? {
                Reply::FlowsKilled { killed, next } => {
                    all += u64::from(killed);
                    pages.advance(next, name)?;
                }
                other => return Err(unwilling(other, name)),
            }
        }
        Ok((all, pages.is_complete()))
    }

    /// The connection that a packet belongs to. Should several workers have it, that of the one
    /// that saw its last packet.
    pub(crate) async fn flow(
        &self,
        instance: &Name,
        tuple: FlowTuple,
    ) -> Result<Option<FlowStatus>, ControlError> {
        let command = Command::Flow { instance: instance.clone(), tuple };
        let name = command.name();
        match self.ask(command).await? {
            Reply::Flows(page) => Ok(page.flows.into_iter().min_by_key(|flow| flow.idle_ms)),
            other => Err(unwilling(other, name)),
        }
    }
}

fn unwilling(reply: Reply, command: &'static str) -> ControlError {
    match reply {
        Reply::Refused(reasons) => ControlError::NoFlows(reasons),
        _ => ControlError::Unexpected { command },
    }
}

/// What is asked of the dataplane to find the connection of a packet.
pub(crate) fn tuple(query: &Query) -> FlowTuple {
    let is_icmp = matches!(query.protocol, ICMP | ICMPV6);
    FlowTuple {
        source: query.src,
        destination: query.dst,
        protocol: query.protocol,
        source_port: query.src_port,
        destination_port: if is_icmp { 0 } else { query.dst_port },
        icmp_type: if is_icmp { query.icmp_type } else { 0 },
    }
}

/// The same for a route; none if it is that of a packet without a source yet.
pub(crate) fn tuple_of_route(query: &RouteQuery) -> Option<FlowTuple> {
    let icmp_type = match query.protocol {
        ICMP => ECHO_REQUEST,
        ICMPV6 => ECHO_REQUEST6,
        _ => 0,
    };
    Some(FlowTuple {
        source: query.src?,
        destination: query.dst,
        protocol: query.protocol,
        source_port: query.src_port,
        destination_port: if icmp_type == 0 { query.dst_port } else { 0 },
        icmp_type,
    })
}

/// How the next packet of a direction stands to the connection.
fn standing(flow: &FlowStatus, reply: bool) -> Standing {
    match reply || flow.reply.packets > 0 {
        true => Standing::Established,
        false => Standing::New,
    }
}

/// How a packet stands to what the dataplane found.
pub(crate) fn remembered(found: Option<&FlowStatus>, packet: &FlowTuple) -> Remembered {
    match found {
        None => Remembered::Absent,
        Some(flow) => Remembered::Present(standing(flow, flow.tuple != *packet)),
    }
}

/// The next packet of one direction of a connection; none if there was no packet of it yet.
pub(crate) fn next_packet(flow: &FlowStatus, reply: bool) -> Option<Query> {
    let (this, other) = match reply {
        false => (&flow.original, &flow.reply),
        true => (&flow.reply, &flow.original),
    };
    if this.packets == 0 {
        return None;
    }
    let input = this.way.as_ref().and_then(|way| way.ingress.clone());
    let input = input.or_else(|| Some(other.way.as_ref()?.egress.clone()));
    let FlowTuple { source, destination, protocol, source_port, destination_port, icmp_type } =
        flow.tuple;
    let is_icmp = matches!(protocol, ICMP | ICMPV6);
    let answer = match (protocol, icmp_type) {
        (ICMP, ECHO_REQUEST) => ECHO_REPLY,
        // All others that ask have their answer's type next to theirs.
        (_, asks) => asks.wrapping_add(1),
    };
    let (src, dst, src_port, dst_port, icmp_type) = match reply {
        false => (source, destination, source_port, destination_port, icmp_type),
        true if is_icmp => (destination, source, source_port, destination_port, answer),
        true => (destination, source, destination_port, source_port, 0),
    };
    Some(Query {
        input,
        src,
        dst,
        protocol,
        src_port,
        dst_port,
        tcp_flags: match (protocol, flow.state) {
            (TCP, channel::FlowState::SynSent) => SYN,
            (TCP, _) => ACK,
            _ => 0,
        },
        icmp_type: if is_icmp { icmp_type } else { 0 },
        icmp_code: 0,
        hop_limit: 64,
        dscp: 0,
        length: 100,
        dont_fragment: false,
        fragment_offset: 0,
        more_fragments: false,
        link: LinkDestination::Router,
        state: None,
        flow: Remembered::Present(standing(flow, reply)),
    })
}

#[cfg(test)]
mod tests {
    use sluice_channel::FlowPath;

    use super::*;

    fn flow(protocol: u8, ports: (u16, u16), icmp_type: u8) -> FlowStatus {
        let way = FlowPath {
            ingress: Some("lan".into()),
            egress: "wan".into(),
            next_hop: None,
            rules: Vec::new(),
        };
        FlowStatus {
            place: FlowPlace::default(),
            instance: "default".into(),
            tuple: FlowTuple {
                source: [10, 0, 1, 2].into(),
                destination: [10, 0, 2, 2].into(),
                protocol,
                source_port: ports.0,
                destination_port: ports.1,
                icmp_type,
            },
            state: channel::FlowState::Established,
            age_ms: 0,
            idle_ms: 0,
            expires_ms: 0,
            original: channel::FlowDirection { packets: 1, bytes: 40, way: Some(way) },
            reply: channel::FlowDirection { packets: 1, bytes: 40, way: None },
        }
    }

    #[test]
    fn the_next_packet_of_a_direction_is_of_the_connection() {
        let tcp = flow(TCP, (40_000, 443), 0);
        let there = next_packet(&tcp, false).unwrap();
        assert_eq!(tuple(&there), tcp.tuple);
        assert_eq!((there.input.as_deref(), there.tcp_flags), (Some("lan"), ACK));
        let back = next_packet(&tcp, true).unwrap();
        assert_eq!((back.src, back.src_port), (tcp.tuple.destination, 443));
        assert_eq!((back.dst, back.dst_port), (tcp.tuple.source, 40_000));
        assert_eq!(back.input.as_deref(), Some("wan"), "where the other direction leaves");
        let syn = FlowStatus { state: channel::FlowState::SynSent, ..tcp };
        assert_eq!(next_packet(&syn, false).unwrap().tcp_flags, SYN);
    }

    #[test]
    fn answers_to_queries_bear_their_identifier() {
        for (protocol, asks, answers) in [(ICMP, 8, 0), (ICMP, 13, 14), (ICMPV6, 128, 129)] {
            let query = flow(protocol, (77, 0), asks);
            let there = next_packet(&query, false).unwrap();
            assert_eq!((there.icmp_type, there.src_port, there.dst_port), (asks, 77, 0));
            assert_eq!(tuple(&there), query.tuple);
            let back = next_packet(&query, true).unwrap();
            assert_eq!((back.icmp_type, back.src_port, back.dst_port), (answers, 77, 0));
        }
    }

    #[test]
    fn a_direction_that_nobody_has_seen_has_no_next_packet() {
        let mut silent = flow(17, (5000, 53), 0);
        silent.reply.packets = 0;
        assert!(next_packet(&silent, true).is_none());
        let packet = silent.tuple;
        assert_eq!(remembered(Some(&silent), &packet), Remembered::Present(Standing::New));
        let answer = FlowTuple { source: packet.destination, ..packet };
        assert_eq!(remembered(Some(&silent), &answer), Remembered::Present(Standing::Established));
        assert_eq!(remembered(None, &packet), Remembered::Absent);
        assert!(next_packet(&silent, false).is_some());
    }

    #[test]
    fn a_dataplane_that_does_not_go_on_is_not_asked_forever() {
        let mut pages = Pages::new();
        let place = |worker, slot| Some(FlowPlace { worker, slot });
        for next in [place(0, 256), place(0, 300), place(1, 0), place(1, 1)] {
            pages.advance(next, "flows").unwrap();
            assert_eq!(pages.next(), next);
        }
        for next in [place(1, 1), place(0, 400)] {
            assert!(pages.advance(next, "flows").is_err());
        }
        pages.advance(None, "flows").unwrap();
        assert!(pages.next().is_none() && pages.is_complete());
    }
}
