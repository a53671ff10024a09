//! Where a packet would be routed, and which address a packet of the router's own must bear: the
//! route decision alone, by the workers' evaluator on one generation. Filters are not asked; that
//! is [`explain`](super::explain).
//!
//! A source address is chosen before the packet exists, yet policy may route by source. So the
//! address is one that the decision agrees with: a packet that bears it leaves by the interface
//! that has it, and is not routed anew once the address is bound. The first choice is the egress's
//! address towards the next hop (RFC 6724 section 4, RFC 1122 section 3.3.4.3); if the packet then
//! goes another way, the instance's other addresses are tried in their order.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_packet::descriptor::{ip_of, number_of};
use sluice_packet::{Descriptor, DescriptorFlags, Family};

use super::orders::Orders;
use super::{ExplainError, LinkDestination, Live, Query, Remembered, Way, ingress, walk};
use crate::instance::Instance;
use crate::interface::Interface;
use crate::model::{DEFAULT_INSTANCE, Name};
use crate::policy::Policy;

/// What is asked about a route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteQuery {
    /// The instance of a packet of the router's own; left out, `default`. A received packet is of
    /// its interface's.
    #[serde(default)]
    pub instance: Option<Name>,
    /// The interface that the packet comes in by; left out, the one whose network holds the
    /// source.
    #[serde(default)]
    pub input: Option<Name>,
    /// Source address. Left out, or one of the instance's own: a packet of the router's own.
    #[serde(default)]
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number.
    #[serde(default)]
    pub protocol: u8,
    /// Source port.
    #[serde(default)]
    pub src_port: u16,
    /// Destination port.
    #[serde(default)]
    pub dst_port: u16,
}

/// Where a packet would be routed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Routed {
    /// The generation of policy that it holds for.
    pub generation: u64,
    /// The instance that the packet belongs to.
    pub instance: Name,
    /// The interface it comes in by; none for a packet of the router's own.
    pub ingress: Option<Name>,
    /// The source address that it bears; none if it is of the router's own and nowhere to go.
    pub source: Option<IpAddr>,
    /// Whether a packet of the router's own that bears this source leaves by an interface that has
    /// it: policy may say otherwise of every address there is.
    pub source_agrees: bool,
    /// The decision.
    #[serde(flatten)]
    pub way: Way,
    /// The largest IP packet that passes this router: what fits both the interface it comes in by
    /// and the one it leaves by.
    pub path_mtu: Option<u16>,
}

/// Where the policy routes a packet, and why. The policy is the one that the dataplane follows:
/// see [`Live::followed`].
pub fn route(policy: &Policy, live: &Live, q: &RouteQuery) -> Result<Routed, ExplainError> {
    let name = q.instance.as_deref().unwrap_or(DEFAULT_INSTANCE);
    let instance = policy.instance_named(name).ok_or_else(|| {
        let names: Vec<&str> = policy.instances().map(|i| &*i.name).collect();
        ExplainError::UnknownInstance { name: name.into(), known: names.join(", ") }
    })?;
    let family = if q.dst.is_ipv4() { Family::Inet } else { Family::Inet6 };
    match q.src {
        Some(src) if q.input.is_some() || !is_own(instance, src) => received(policy, live, q, src),
        Some(src) => {
            let asked = Own { policy, live, instance, family, q };
            let way = asked.way(src)?;
            let agrees = asked.leaves_by_owner_of(&way, src);
            Ok(asked.routed(way, Some(src), agrees))
        }
        None => Own { policy, live, instance, family, q }.choose(),
    }
}

fn is_own(instance: &Instance, address: IpAddr) -> bool {
    let family = if address.is_ipv4() { Family::Inet } else { Family::Inet6 };
    instance.owns(family, number_of(address)).is_some()
}

/// The packet that is asked about, from an address.
fn packet(q: &RouteQuery, src: IpAddr) -> Query {
    Query {
        input: q.input.clone(),
        src,
        dst: q.dst,
        protocol: q.protocol,
        src_port: q.src_port,
        dst_port: q.dst_port,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 64,
        length: 100,
        dont_fragment: false,
        fragment_offset: 0,
        dscp: 0,
        more_fragments: false,
        link: LinkDestination::Router,
        state: None,
        flow: Remembered::Unasked,
    }
}

/// A packet that comes in by an interface.
fn received(
    policy: &Policy,
    live: &Live,
    q: &RouteQuery,
    src: IpAddr,
) -> Result<Routed, ExplainError> {
    let query = packet(q, src);
    query.check()?;
    let ingress = ingress(policy, &query)?;
    let instance = policy.instance(ingress.instance).ok_or(ExplainError::UnknownOrigin(src))?;
    let orders = Orders::new(policy, instance, live, query.family())?;
    let frame = query.frame();
    let descriptor = decode(&query, &frame, ingress)?;
    let way = walk::decide(policy, live, &orders, instance, ingress, &frame, descriptor);
    Ok(Routed {
        generation: policy.generation(),
        instance: instance.name.clone(),
        ingress: Some(ingress.name.clone()),
        source: Some(src),
        source_agrees: true,
        path_mtu: way.mtu.map(|mtu| mtu.min(ingress.mtu)),
        way,
    })
}

fn decode(query: &Query, frame: &[u8], ingress: &Interface) -> Result<Descriptor, ExplainError> {
    let Query { src, dst, .. } = *query;
    query.decode(frame, ingress).map_err(|_| ExplainError::NoPacket { src, dst })
}

/// A packet of the router's own.
struct Own<'a> {
    policy: &'a Policy,
    live: &'a Live,
    instance: &'a Instance,
    family: Family,
    q: &'a RouteQuery,
}

impl Own<'_> {
    /// The decision on the packet with the source that it is to have.
    fn choose(&self) -> Result<Routed, ExplainError> {
        let own: Vec<IpAddr> = self.addresses().collect();
        let Some(&any) = own.first() else {
            return Err(ExplainError::NoAddress { instance: self.instance.name.clone() });
        };
        let first = self.decided(any, |descriptor| descriptor.key.src = 0)?;
        let Some(towards) = self.source_towards(&first) else {
            return Ok(self.routed(first, None, false));
        };
        let way = self.way(towards)?;
        if self.leaves_by_owner_of(&way, towards) {
            return Ok(self.routed(way, Some(towards), true));
        }
        for other in own {
            let way = self.way(other)?;
            if self.leaves_by_owner_of(&way, other) {
                return Ok(self.routed(way, Some(other), true));
            }
        }
        Ok(self.routed(way, Some(towards), false))
    }

    /// Own addresses of the packet's IP version.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let of_instance = self.policy.interfaces().filter(|i| i.instance == self.instance.id);
        let all = of_instance.flat_map(|interface| &interface.addresses).map(|net| net.addr());
        all.filter(|address| address.is_ipv4() == (self.family == Family::Inet))
    }

    /// The address that the egress of a decision has towards its next hop.
    fn source_towards(&self, way: &Way) -> Option<IpAddr> {
        let egress = self.policy.interface_named(way.egress.as_ref()?)?;
        let source = egress.source_towards(self.family, number_of(way.next_hop?))?;
        Some(ip_of(self.family, source))
    }

    fn leaves_by_owner_of(&self, way: &Way, source: IpAddr) -> bool {
        let egress = way.egress.as_ref().and_then(|name| self.policy.interface_named(name));
        egress.is_some_and(|egress| egress.owns(self.family, number_of(source)))
    }

    fn way(&self, source: IpAddr) -> Result<Way, ExplainError> {
        self.decided(source, |_| {})
    }

    /// The decision on a packet that is made with `source` and then changed.
    fn decided(
        &self,
        source: IpAddr,
        change: impl FnOnce(&mut Descriptor),
    ) -> Result<Way, ExplainError> {
        let query = packet(self.q, source);
        query.check()?;
        let owner = self.instance.owns(self.family, number_of(source));
        let owner = owner.and_then(|id| self.policy.interface(id));
        let owner = owner.ok_or(ExplainError::UnknownOrigin(source))?;
        let orders = Orders::new(self.policy, self.instance, self.live, self.family)?;
        let frame = query.frame();
        let mut descriptor = decode(&query, &frame, owner)?;
        descriptor.flags |= DescriptorFlags::LOCAL_ORIGIN;
        change(&mut descriptor);
        let Own { policy, live, instance, .. } = *self;
        Ok(walk::decide(policy, live, &orders, instance, owner, &frame, descriptor))
    }

    fn routed(&self, way: Way, source: Option<IpAddr>, source_agrees: bool) -> Routed {
        Routed {
            generation: self.policy.generation(),
            instance: self.instance.name.clone(),
            ingress: None,
            source,
            source_agrees,
            path_mtu: way.mtu,
            way,
        }
    }
}
