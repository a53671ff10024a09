//! Connections, asked of the workers: a page of them, one, or an end to some.
//!
//! A worker is sent an [`Errand`] with room for what it finds, and sends it back filled. There is
//! one for each worker, which is with the agent or with the worker: should one be stuck, nobody asks
//! it again until it has answered. What is meant is picked out here, not there.

use std::time::{Duration, Instant};

use sluice_channel::{
    FlowDirection, FlowFilter, FlowPage, FlowPath, FlowPlace, FlowState, FlowStatus, FlowTuple,
    MAX_FLOWS, Reply,
};
use sluice_flow::{Count, Phase};
use sluice_packet::descriptor::{ip_of, number_of};
use sluice_packet::{Descriptor, Family, FlowKey, protocol};
use sluice_pipelines::flow::{Errand, FlowRecord, KnownWay, Wanted};
use sluice_policy::model::Name;
use sluice_policy::{InstanceId, Policy};

use super::{Agent, LOOK};
use crate::worker::Order;

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one page may take: there is other work.
const PAGE: Duration = Duration::from_millis(20);

impl Agent {
    /// Answers [`Command::Flows`](sluice_channel::Command::Flows).
    pub(super) fn flows(&mut self, from: FlowPlace, filter: &FlowFilter) -> Reply {
        let mut flows = Vec::new();
        let next = self.over_tables(from, filter, |agent, worker, errand| {
            let policy = &agent.publisher.current().policy;
            flows.extend(errand.records.iter().filter_map(|r| status(policy, worker, r)));
            let room = flows.len() + errand.records.capacity() <= MAX_FLOWS;
            Ok((errand, room))
        });
        match next {
            Ok(next) => Reply::Flows(FlowPage { flows, next }),
            Err(reason) => Reply::Refused(vec![reason]),
        }
    }

    /// Answers [`Command::KillFlows`](sluice_channel::Command::KillFlows).
    pub(super) fn kill_flows(&mut self, from: FlowPlace, filter: &FlowFilter) -> Reply {
        let mut killed = 0;
        let next = self.over_tables(from, filter, |agent, worker, mut errand| {
            if !errand.records.is_empty() {
                errand = agent.send_on_errand(worker, Wanted::End, errand)?;
                killed += errand.ended;
            }
            Ok((errand, true))
        });
        match next {
            Ok(next) => Reply::FlowsKilled { killed, next },
            Err(reason) => Reply::Refused(vec![reason]),
        }
    }

    /// Answers [`Command::Flow`](sluice_channel::Command::Flow).
    pub(super) fn flow(&mut self, instance: &str, tuple: &FlowTuple) -> Reply {
        let policy = &self.publisher.current().policy;
        let Some(id) = policy.instance_named(instance).map(|instance| instance.id) else {
            return Reply::Refused(vec![format!("there is no instance `{instance}`")]);
        };
        let Some(packet) = packet(tuple) else {
            let FlowTuple { source, destination, .. } = tuple;
            return Reply::Refused(vec![format!(
                "{source} and {destination} are of different IP versions"
            )]);
        };
        let mut flows = Vec::new();
        for worker in 0..self.workers.len() {
            let found = self
                .errand(worker)
                .and_then(|errand| self.send_on_errand(worker, Wanted::Of(id.0, packet), errand));
            match found {
                Ok(errand) => {
                    let policy = &self.publisher.current().policy;
                    flows.extend(errand.records.iter().filter_map(|r| status(policy, worker, r)));
                    self.workers[worker].errand = Some(errand);
                }
                Err(reason) => return Reply::Refused(vec![reason]),
            }
        }
        Reply::Flows(FlowPage { flows, next: None })
    }

    /// Goes over the tables from a place on, for as long as a page may take or `visit` wants, and
    /// has it see the connections that are meant, a worker's few at a time. Returns where to go on.
    fn over_tables(
        &mut self,
        from: FlowPlace,
        filter: &FlowFilter,
        mut visit: impl FnMut(&mut Agent, usize, Box<Errand>) -> Result<(Box<Errand>, bool), String>,
    ) -> Result<Option<FlowPlace>, String> {
        let policy = &self.publisher.current().policy;
        let instance = match &filter.instance {
            None => None,
            Some(name) => match policy.instance_named(name) {
                Some(instance) => Some(instance.id.0),
                None => return Err(format!("there is no instance `{name}`")),
            },
        };
        let is_meant = |record: &FlowRecord| {
            instance.is_none_or(|instance| instance == record.key.instance())
                && filter.means(&tuple(&record.key.flow_key()), state(record.phase))
        };
        let deadline = Instant::now() + PAGE;
        let mut place = from;
        while usize::from(place.worker) < self.workers.len() {
            let worker = usize::from(place.worker);
            let errand = self.errand(worker)?;
            let mut errand = self.send_on_errand(worker, Wanted::From(place.slot), errand)?;
            place = match errand.next {
                Some(slot) => FlowPlace { slot, ..place },
                None => FlowPlace { worker: place.worker + 1, slot: 0 },
            };
            errand.records.retain(is_meant);
            let (errand, goes_on) = visit(self, worker, errand)?;
            self.workers[worker].errand = Some(errand);
            if !goes_on || Instant::now() >= deadline {
                break;
            }
        }
        Ok((usize::from(place.worker) < self.workers.len()).then_some(place))
    }

    /// The worker's errand, if the worker does not have it still.
    fn errand(&mut self, worker: usize) -> Result<Box<Errand>, String> {
        let handle = &mut self.workers[worker];
        let errand = handle.errand.take().or_else(|| handle.errands.pop().ok());
        errand.ok_or_else(|| silent(worker))
    }

    /// Has a worker do an errand, and waits until it is back.
    fn send_on_errand(
        &mut self,
        worker: usize,
        wanted: Wanted,
        mut errand: Box<Errand>,
    ) -> Result<Box<Errand>, String> {
        errand.wanted = wanted;
        let handle = &mut self.workers[worker];
        if let Err(order) = handle.orders.try_give(Order::Errand(errand)) {
            if let Order::Errand(errand) = order {
                handle.errand = Some(errand);
            }
            return Err(silent(worker));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(errand) = self.workers[worker].errands.pop() {
                return Ok(errand);
            }
            if Instant::now() >= deadline {
                return Err(silent(worker));
            }
            self.beat();
            std::thread::sleep(LOOK);
        }
    }
}

fn silent(worker: usize) -> String {
    let patience = PATIENCE.as_millis();
    format!(
        "worker {worker} has not answered within {patience} ms: `sluice show workers` says whether \
         it is stalled"
    )
}

/// A packet of the connection, as far as its key goes.
fn packet(tuple: &FlowTuple) -> Option<Descriptor> {
    let family = match (tuple.source.is_ipv4(), tuple.destination.is_ipv4()) {
        (true, true) => Family::Inet,
        (false, false) => Family::Inet6,
        _ => return None,
    };
    let key = FlowKey {
        src: number_of(tuple.source),
        dst: number_of(tuple.destination),
        src_port: tuple.source_port,
        dst_port: tuple.destination_port,
        protocol: tuple.protocol,
        family,
    };
    Some(Descriptor { key, icmp_type: tuple.icmp_type, ..Descriptor::default() })
}

/// What a connection is told by. Keys of ICMP queries have the type in the destination port's place.
fn tuple(key: &FlowKey) -> FlowTuple {
    let is_icmp = matches!(key.protocol, protocol::ICMP | protocol::ICMPV6);
    FlowTuple {
        source: key.src_ip(),
        destination: key.dst_ip(),
        protocol: key.protocol,
        source_port: key.src_port,
        destination_port: if is_icmp { 0 } else { key.dst_port },
        icmp_type: if is_icmp { key.dst_port as u8 } else { 0 },
    }
}

fn state(phase: Phase) -> FlowState {
    match phase {
        Phase::Syn => FlowState::SynSent,
        Phase::Handshake => FlowState::SynReceived,
        Phase::PickedUp => FlowState::PickedUp,
        Phase::Open => FlowState::Established,
        Phase::HalfClosed => FlowState::HalfClosed,
        Phase::Closing => FlowState::Closing,
        Phase::TimeWait => FlowState::TimeWait,
        Phase::Reset => FlowState::Reset,
        Phase::Udp | Phase::Icmp | Phase::Other => FlowState::Unanswered,
        Phase::UdpAnswered | Phase::IcmpAnswered | Phase::OtherAnswered => FlowState::Answered,
    }
}

/// A connection as it is told. None if its instance is gone, as the connection will be soon.
fn status(policy: &Policy, worker: usize, record: &FlowRecord) -> Option<FlowStatus> {
    let FlowRecord { key, counts, ways, .. } = record;
    let direction = |side: usize| {
        let Count { packets, bytes } = counts[side];
        FlowDirection { packets, bytes, way: ways[side].as_ref().and_then(|way| path(policy, way)) }
    };
    Some(FlowStatus {
        place: FlowPlace { worker: worker as u16, slot: record.place },
        instance: policy.instance(InstanceId(key.instance()))?.name.clone(),
        tuple: tuple(&key.flow_key()),
        state: state(record.phase),
        age_ms: milliseconds(record.age),
        idle_ms: milliseconds(record.idle),
        expires_ms: milliseconds(record.patience - record.idle),
        original: direction(0),
        reply: direction(1),
    })
}

fn path(policy: &Policy, way: &KnownWay) -> Option<FlowPath> {
    let rule = |slot| {
        let rule = policy.rule_at(slot).map(|rule| Name::from(rule.name));
        rule.or_else(|| policy.policy_route_at(slot).map(|info| info.route.name.clone()))
    };
    Some(FlowPath {
        ingress: policy.interface(way.ingress).map(|interface| interface.name.clone()),
        egress: policy.interface(way.hop.interface)?.name.clone(),
        next_hop: way.hop.via.map(|via| ip_of(way.hop.family, via)),
        rules: way.rules.iter().filter_map(rule).collect(),
    })
}

/// Whole milliseconds; what is past is none.
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_is_told_by_finds_it_again() {
        let ends = [("10.0.1.2", "10.0.2.2"), ("fd00:1::2", "fd00:2::2")];
        for (source, destination) in ends {
            for (protocol, source_port, destination_port, icmp_type) in
                [(6, 40_000, 443, 0), (17, 1, 53, 0), (47, 0, 0, 0)]
            {
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let given = FlowTuple {
                    source,
                    destination,
                    protocol,
                    source_port,
                    destination_port,
                    icmp_type,
                };
                assert_eq!(tuple(&packet(&given).unwrap().key), given);
            }
        }
        let echo = FlowTuple {
            source: [10, 0, 1, 2].into(),
            destination: [10, 0, 2, 2].into(),
            protocol: 1,
            source_port: 77,
            destination_port: 0,
            icmp_type: 8,
        };
        let d = packet(&echo).unwrap();
        assert_eq!((d.icmp_type, d.key.src_port), (8, 77));
        let key = sluice_flow::Key::of(&d, 0).unwrap();
        assert_eq!(tuple(&key.flow_key()), echo);
        let mixed = FlowTuple { source: "fd00::1".parse().unwrap(), ..echo };
        assert!(packet(&mixed).is_none());
    }

    #[test]
    fn time_that_is_up_is_none() {
        assert_eq!([milliseconds(1.5), milliseconds(-3.0), milliseconds(f64::NAN)], [1500, 0, 0]);
    }

    #[test]
    fn every_phase_has_a_state() {
        for phase in Phase::ALL {
            let open = matches!(state(phase), FlowState::Established | FlowState::HalfClosed);
            assert_eq!(open, phase.class() == sluice_flow::Class::Open, "{phase:?}");
        }
    }
}
