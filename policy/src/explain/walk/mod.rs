//! The packet's way, stage by stage, in the order of the workers and by their evaluator.

mod flow;
mod route;

use std::collections::HashSet;
use std::net::IpAddr;

use sluice_packet::{ConnectionState, Descriptor, DescriptorFlags, Family, icmp, icmpv6, ipv6, nd};

use self::flow::Asked;
use super::display::{endpoint, lower};
use super::orders::Orders;
use super::{
    Answered, EgressState, Live, MatchedRule, NextHopState, Outcome, PortFacts, Query, Step,
    Verdict, Way,
};
use crate::answer::{self, Answer};
use crate::arrival::{Arrival, arrival};
use crate::drop_reason::DropReason;
use crate::evaluate::{self, Fit, Recorder, RouteDecision};
use crate::event::{Event, Stage};
use crate::ids::{InterfaceId, NextHopId, PortId, RuleSlot};
use crate::instance::Instance;
use crate::interface::Interface;
use crate::model::{Action, FilterPoint, Name};
use crate::order::{ForeignHook, Place};
use crate::policy::Policy;

/// TTL and hop limit of what the router sends.
const HOP_LIMIT: u8 = 64;

/// The way of a packet, and what its sender hears.
pub(super) fn walk(
    policy: &Policy,
    live: &Live,
    orders: &Orders,
    instance: &Instance,
    ingress: &Interface,
    q: &Query,
) -> (Way, Option<Answered>) {
    let frame = q.frame();
    let mut walk = Walk {
        policy,
        live,
        orders,
        instance,
        ingress,
        frame: &frame,
        descriptor: Descriptor::default(),
        hop: None,
        met: None,
        way: Way::new(),
        reply: None,
        follows: String::new(),
        asked: Asked::from(q),
    };
    // Where it ends, the verdict stands in the way.
    let _ = walk.received(q);
    let (reply, met) = (walk.reply.take(), walk.met.clone());
    let way = walk.finished();
    let answer = reply.map(|reply| {
        let Reply { message, descriptor } = reply;
        let mut back = Walk {
            policy,
            live,
            orders,
            instance,
            ingress,
            frame: &[],
            descriptor,
            hop: None,
            met,
            way: Way::new(),
            reply: None,
            follows: String::new(),
            asked: Asked::default(),
        };
        let _ = back.own();
        Answered {
            message: message.to_owned(),
            source: descriptor.key.src_ip(),
            destination: descriptor.key.dst_ip(),
            way: back.finished(),
        }
    });
    (way, answer)
}

/// The route decision alone, about a packet as it is before it.
pub(super) fn decide(
    policy: &Policy,
    live: &Live,
    orders: &Orders,
    instance: &Instance,
    ingress: &Interface,
    frame: &[u8],
    descriptor: Descriptor,
) -> Way {
    let mut walk = Walk {
        policy,
        live,
        orders,
        instance,
        ingress,
        frame,
        descriptor,
        hop: None,
        met: None,
        way: Way::new(),
        reply: None,
        follows: String::new(),
        asked: Asked::default(),
    };
    // Where it ends, the verdict stands in the way.
    let _ = walk.decided();
    walk.finished()
}

/// A packet on its way.
struct Walk<'a> {
    policy: &'a Policy,
    live: &'a Live,
    orders: &'a Orders,
    instance: &'a Instance,
    ingress: &'a Interface,
    frame: &'a [u8],
    descriptor: Descriptor,
    hop: Option<Hop>,
    /// The first hook that it met of which nobody else can tell what it does.
    met: Option<Name>,
    way: Way,
    reply: Option<Reply>,
    /// What there is to say about a later fragment's first.
    follows: String,
    asked: Asked,
}

/// Where the packet leaves.
#[derive(Clone, Copy)]
struct Hop {
    interface: InterfaceId,
    address: IpAddr,
}

/// What the router sends back.
struct Reply {
    message: &'static str,
    descriptor: Descriptor,
}

/// Keeps what an evaluation tells.
#[derive(Default)]
struct Trace {
    rules: Vec<RuleSlot>,
    /// Policy routes that matched, and where they lead.
    steered: Vec<(RuleSlot, Option<RouteDecision>)>,
    choices: usize,
}

impl Recorder for Trace {
    fn rule(&mut self, slot: RuleSlot, _: &Descriptor) {
        self.rules.push(slot);
    }

    fn policy_route(&mut self, slot: RuleSlot, _: &Descriptor, way: Option<RouteDecision>) {
        self.steered.push((slot, way));
    }

    fn spread(&mut self, _: &Descriptor, choices: &[NextHopId], _: NextHopId) {
        let distinct: HashSet<_> = choices.iter().collect();
        self.choices = distinct.len();
    }
}

/// The packet's way ends.
struct End;

impl Walk<'_> {
    /// A packet that comes in by a port.
    fn received(&mut self, q: &Query) -> Result<(), End> {
        let text = format!(
            "{} > {}, {} bytes, in by {} of instance {}",
            endpoint(q.src, q.src_port, q.protocol),
            endpoint(q.dst, q.dst_port, q.protocol),
            q.length,
            self.ingress.name,
            self.instance.name
        );
        if self.policy.is_down(self.ingress.id) {
            let port = self.policy.port(self.ingress.port).map_or("its port", |port| &port.name);
            let text =
                format!("{text}: {port} is down, and nothing that came in by it is looked at");
            return self.drop(Stage::Decode, text, Vec::new(), DropReason::IngressDown);
        }
        match q.decode(self.frame, self.ingress) {
            Ok(descriptor) => self.descriptor = descriptor,
            Err(malformed) => {
                let reason = DropReason::from(malformed);
                let text = match reason {
                    DropReason::SuperPacket => {
                        format!("{text}: larger than its MTU, {}", self.ingress.mtu)
                    }
                    _ => format!("{text}: {}", lower(reason.help())),
                };
                return self.drop(Stage::Decode, text, Vec::new(), reason);
            }
        }
        self.pass(Stage::Decode, text, Vec::new());
        // Where states are looked at, a fragment's first is known ahead of the filters.
        let tracks = self.instance.tracks();
        if tracks {
            self.follow(q);
        }
        self.event(Event::PhysicalIn)?;
        self.local()?;
        if !tracks {
            self.follow(q);
        }
        self.event(Event::RouteDecision)?;
        self.between()?;
        self.event(Event::Forwarding)?;
        self.event(Event::PhysicalOut)?;
        self.leave()
    }

    /// A packet that the router made: no FORWARDING, but it has to fit its egress.
    fn own(&mut self) -> Result<(), End> {
        if self.instance.tracks() {
            self.descriptor.state = ConnectionState::Established;
        }
        self.event(Event::RouteDecision)?;
        self.between()?;
        let mtu = self.way.mtu.unwrap_or(u16::MAX);
        match evaluate::mtu(&self.descriptor, mtu) {
            Ok(Fit::Whole) => {}
            Ok(Fit::Fragments) => self.fragments(mtu),
            Err(reason) => {
                let text = format!("{} of at most {mtu} bytes", self.descriptor.l3_length);
                return self.drop(Stage::Mtu, text, Vec::new(), reason);
            }
        }
        self.event(Event::PhysicalOut)?;
        self.leave()
    }

    /// A packet of which only the route decision is asked for.
    fn decided(&mut self) -> Result<(), End> {
        let key = self.descriptor.key;
        let owner = self.instance.owns(key.family, key.dst);
        if let Some(owner) = owner.and_then(|id| self.policy.interface(id)) {
            let text = format!("{} is an own address, on {}", key.dst_ip(), owner.name);
            return self.end(Stage::Local, text, Vec::new(), Outcome::Local, Verdict::Local);
        }
        self.event(Event::RouteDecision)
    }

    /// The hooks of an event, in the order in which the workers run them.
    fn event(&mut self, event: Event) -> Result<(), End> {
        let orders = self.orders;
        for &place in orders.at(event) {
            let stage = match place {
                Place::Stage(stage) => stage,
                Place::Foreign(hook) => {
                    if let Some(hook) = orders.hook(hook) {
                        self.foreign(event, hook);
                    }
                    continue;
                }
            };
            match stage {
                Stage::Flow => self.flow(),
                Stage::IngressFilter => self.filter(FilterPoint::Ingress)?,
                Stage::ForwardFilter => self.filter(FilterPoint::Forward)?,
                Stage::EgressFilter => self.filter(FilterPoint::Egress)?,
                Stage::Route => self.route()?,
                Stage::HopLimit => self.hop_limit()?,
                Stage::Mtu => self.mtu()?,
                // The others are fixed in their places.
                _ => {}
            }
        }
        Ok(())
    }

    /// A packet that routes lead out by another instance's interface: LOOPBACK_OUT here, and
    /// LOOPBACK_IN there.
    fn between(&mut self) -> Result<(), End> {
        let egress = self.hop.and_then(|hop| self.policy.interface(hop.interface));
        let there = egress.map_or(self.instance.id, |egress| egress.instance);
        if there == self.instance.id {
            return Ok(());
        }
        self.event(Event::LoopbackOut)?;
        let Some(there) = self.policy.instance(there) else { return Ok(()) };
        // The dataplane refuses a policy whose hooks have no order.
        let family = self.descriptor.key.family;
        let Ok(orders) = Orders::new(self.policy, there, self.live, family) else { return Ok(()) };
        for place in orders.at(Event::LoopbackIn) {
            if let Place::Foreign(hook) = place
                && let Some(hook) = orders.hook(*hook)
            {
                self.foreign(Event::LoopbackIn, hook);
            }
        }
        Ok(())
    }

    /// A hook that only running it could tell about.
    fn foreign(&mut self, event: Event, hook: &ForeignHook) {
        let what = match self.policy.state().hooks.get(&hook.name) {
            Some(loaded) => {
                let what = if loaded.file().is_some() { "file" } else { "program" };
                format!("{what} {}, loaded at {}", loaded.program, loaded.position)
            }
            None => "a foreign hook".into(),
        };
        self.met.get_or_insert_with(|| hook.name.clone());
        self.way.steps.push(Step {
            stage: hook.name.clone(),
            foreign: true,
            event: Some(event),
            text: format!(
                "{what}: what it does is not known; the rest holds if the packet passes as it is"
            ),
            rules: Vec::new(),
            outcome: Outcome::Unknown,
        });
    }

    /// The whole way. Behind a foreign hook no verdict is stated.
    fn finished(self) -> Way {
        let Walk { mut way, met, .. } = self;
        if let Some(hook) = met {
            let otherwise = Box::new(way.verdict);
            way.verdict = Verdict::Unknown { hook, otherwise };
        }
        way
    }

    fn filter(&mut self, point: FilterPoint) -> Result<(), End> {
        let stage = point.stage();
        if !self.instance.filters(point) {
            self.pass(stage, "no rules".into(), Vec::new());
            return Ok(());
        }
        let mut trace = Trace::default();
        let egress = self.hop.map(|hop| hop.interface);
        let decision = self.instance.filter(point, &self.descriptor, egress, &mut trace);
        let matched = trace.rules.iter().filter_map(|&slot| self.policy.rule_at(slot));
        let rules: Vec<MatchedRule> = matched.map(MatchedRule::new).collect();
        self.way.rule = rules.last().cloned();
        let said: Vec<String> = rules.iter().map(ToString::to_string).collect();
        let text = said.join(", then ");
        match decision.action {
            Action::Accept | Action::Count => {
                self.pass(stage, text, rules);
                Ok(())
            }
            Action::Drop => self.drop(stage, text, rules, decision.drop_reason(point)),
            Action::Reject => {
                self.told(stage, text, rules, decision.drop_reason(point), Answer::Rejected)
            }
        }
    }

    fn local(&mut self) -> Result<(), End> {
        const STAGE: Stage = Stage::Local;
        let d = self.descriptor;
        let dst = d.key.dst_ip();
        let owner = self.instance.owns(d.key.family, d.key.dst);
        let own = match owner.and_then(|id| self.policy.interface(id)) {
            Some(interface) => format!("{dst} is an own address, on {}", interface.name),
            None => format!("{dst}"),
        };
        match arrival(self.instance, &d, || self.link_local(self.ingress.port)) {
            Arrival::Passing => {
                self.pass(STAGE, "not an own address".into(), Vec::new());
                Ok(())
            }
            Arrival::Drop(reason) => self.drop(STAGE, lower(reason.help()), Vec::new(), reason),
            Arrival::Refused(answer) => {
                let text = format!("{own}: nothing listens");
                self.told(STAGE, text, Vec::new(), DropReason::LocalUnreachable, answer)
            }
            Arrival::Echo => {
                let mut descriptor = d;
                std::mem::swap(&mut descriptor.key.src, &mut descriptor.key.dst);
                descriptor.icmp_type = match d.key.family {
                    Family::Inet => icmp::ECHO_REPLY,
                    Family::Inet6 => icmpv6::ECHO_REPLY,
                };
                descriptor.hop_limit = HOP_LIMIT;
                descriptor.flags |= DescriptorFlags::LOCAL_ORIGIN;
                self.reply = Some(Reply { message: "echo-reply", descriptor });
                let text = format!("{own}: an echo request");
                self.end(STAGE, text, Vec::new(), Outcome::Local, Verdict::Local)
            }
            Arrival::Discovery => self.discovery(),
        }
    }

    /// Neighbour discovery, as far as it can be told without the message's content.
    fn discovery(&mut self) -> Result<(), End> {
        let d = &self.descriptor;
        let reason = match d.icmp_type {
            icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT => {
                let valid = d.hop_limit == nd::HOP_LIMIT
                    && d.icmp_code == 0
                    && !d.flags.contains(DescriptorFlags::OPTIONS);
                (!valid).then_some(DropReason::NdInvalid)
            }
            _ => Some(DropReason::NdForeign),
        };
        match reason {
            Some(reason) => self.drop(Stage::Local, lower(reason.help()), Vec::new(), reason),
            None => {
                let text = "neighbour discovery; what comes of it depends on its content";
                self.end(Stage::Local, text.into(), Vec::new(), Outcome::Local, Verdict::Local)
            }
        }
    }

    fn hop_limit(&mut self) -> Result<(), End> {
        let left = self.descriptor.hop_limit;
        match evaluate::hop_limit(&self.descriptor) {
            Ok(()) => {
                let text = format!("{left}, leaves with {}", left.saturating_sub(1));
                self.pass(Stage::HopLimit, text, Vec::new());
                Ok(())
            }
            Err(reason) => {
                let text = format!("{left}: {}", lower(reason.help()));
                self.told(Stage::HopLimit, text, Vec::new(), reason, Answer::TimeExceeded)
            }
        }
    }

    fn mtu(&mut self) -> Result<(), End> {
        let mtu = self.way.mtu.unwrap_or(u16::MAX);
        let length = self.descriptor.l3_length;
        match evaluate::mtu(&self.descriptor, mtu) {
            Ok(Fit::Whole) => {
                self.pass(Stage::Mtu, format!("{length} of at most {mtu} bytes"), Vec::new());
                Ok(())
            }
            Ok(Fit::Fragments) => {
                self.fragments(mtu);
                Ok(())
            }
            Err(reason) => {
                let text = format!("{length} of at most {mtu} bytes: {}", lower(reason.help()));
                self.told(Stage::Mtu, text, Vec::new(), reason, Answer::TooBig(mtu))
            }
        }
    }

    /// It is cut when it leaves: what comes before sees it whole.
    fn fragments(&mut self, mtu: u16) {
        let length = self.descriptor.l3_length;
        self.way.fragments = evaluate::fragments(&self.descriptor, mtu);
        let pieces = self.way.fragments.unwrap_or(1);
        let text = format!("{length} of at most {mtu} bytes: fragmented into {pieces}");
        self.pass(Stage::Mtu, text, Vec::new());
    }

    /// Neighbour and tx: link and link address.
    fn leave(&mut self) -> Result<(), End> {
        const STAGE: Stage = Stage::Neighbour;
        let Some(hop) = self.hop else { return Ok(()) };
        let Some(egress) = self.policy.interface(hop.interface) else { return Ok(()) };
        if let Some(EgressState { port, link, error }) = &self.way.egress_state {
            if let Some(error) = error {
                let text = format!("port {port} does not run: {error}");
                return self.drop(STAGE, text, Vec::new(), DropReason::TxNoQueue);
            }
            if !link {
                let text = format!("port {port} has no link");
                return self.drop(STAGE, text, Vec::new(), DropReason::EgressDown);
            }
        }
        let address = hop.address;
        let state = self.neighbour(egress, address);
        let failed = state.failed();
        let text = match (&state.mac, &*state.state) {
            (Some(mac), _) if !failed => format!("{address} is at {mac} ({})", state.state),
            (_, "failed") => format!("{address} does not answer"),
            _ if address.is_ipv4() => {
                format!("{address}, asked for by ARP; packets wait for its answer")
            }
            _ => {
                format!(
                    "{address}, asked for by neighbour solicitation; packets wait for its answer"
                )
            }
        };
        if failed {
            let reason = DropReason::NeighbourUnresolved;
            return self.told(STAGE, text, Vec::new(), reason, Answer::HostUnreachable);
        }
        self.pass(STAGE, text, Vec::new());
        let tag = match egress.vlan {
            0 => String::new(),
            vlan => format!(", VLAN {vlan}"),
        };
        self.pass(Stage::Tx, format!("out by {}{tag}", egress.name), Vec::new());
        Ok(())
    }

    fn neighbour(&self, egress: &Interface, address: IpAddr) -> NextHopState {
        let mut fixed = self.policy.static_neighbours();
        if let Some((_, _, mac)) = fixed.find(|n| n.0 == egress.id && n.1 == address) {
            return NextHopState::fixed(mac);
        }
        let known = self.live.neighbours.get(&(egress.name.clone(), address));
        known.cloned().unwrap_or_else(NextHopState::unknown)
    }

    /// What the dataplane knows of an interface's port.
    fn port(&self, interface: &Interface) -> Option<EgressState> {
        let name = &self.policy.port(interface.port)?.name;
        let PortFacts { link, error, .. } = self.live.ports.get(name)?.clone();
        Some(EgressState { port: name.clone(), link, error })
    }

    /// The link-local address of a port that the dataplane has.
    fn link_local(&self, port: PortId) -> Option<u128> {
        let facts = self.live.ports.get(&self.policy.port(port)?.name)?;
        let attached = facts.error.is_none();
        attached.then(|| ipv6::link_local(&facts.mac.0).to_bits())
    }

    fn pass(&mut self, stage: Stage, text: String, rules: Vec<MatchedRule>) {
        self.step(stage, text, rules, Outcome::Pass);
    }

    fn step(&mut self, stage: Stage, text: String, rules: Vec<MatchedRule>, outcome: Outcome) {
        let (event, stage) = (stage.event(), stage.name().into());
        self.way.steps.push(Step { stage, foreign: false, event, text, rules, outcome });
    }

    fn drop(
        &mut self,
        stage: Stage,
        text: String,
        rules: Vec<MatchedRule>,
        reason: DropReason,
    ) -> Result<(), End> {
        let verdict = Verdict::Drop { reason: reason.name().to_owned() };
        self.end(stage, text, rules, Outcome::Drop, verdict)
    }

    /// A drop that the sender is told about, if such a packet may be answered.
    fn told(
        &mut self,
        stage: Stage,
        text: String,
        rules: Vec<MatchedRule>,
        reason: DropReason,
        answer: Answer,
    ) -> Result<(), End> {
        self.reply = self.answer(answer);
        if self.reply.is_none() {
            return self.drop(stage, text, rules, reason);
        }
        let verdict = Verdict::Reject { reason: reason.name().to_owned() };
        self.end(stage, text, rules, Outcome::Reject, verdict)
    }

    /// The answer as the workers would write it.
    fn answer(&self, answer: Answer) -> Option<Reply> {
        let d = &self.descriptor;
        let answer = answer.about(d)?;
        let source = answer::source(self.policy, d, |port| self.link_local(port))?;
        let (_, descriptor) = answer.write(&mut [0; answer::ROOM], source, d, self.frame)?;
        Some(Reply { message: answer.name(), descriptor })
    }

    fn end(
        &mut self,
        stage: Stage,
        text: String,
        rules: Vec<MatchedRule>,
        outcome: Outcome,
        verdict: Verdict,
    ) -> Result<(), End> {
        self.step(stage, text, rules, outcome);
        self.way.verdict = verdict;
        Err(End)
    }
}
