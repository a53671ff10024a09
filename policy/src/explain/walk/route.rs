//! The route decision of a packet's way: policy routes, tables, and the next hop.

use sluice_packet::descriptor::ip_of;
use sluice_packet::{DescriptorFlags, Fragment};

use super::{End, Hop, Trace, Walk};
use crate::answer::Answer;
use crate::drop_reason::DropReason;
use crate::evaluate::{self, RouteDecision};
use crate::event::Stage;
use crate::explain::display::lower;
use crate::explain::{MatchedPolicyRoute, Query};
use crate::ids::{InterfaceId, RuleSlot, TableId};
use crate::model::{PolicyAction, Unreachable};
use crate::policy::MatchedRoute;

impl Walk<'_> {
    pub(super) fn route(&mut self) -> Result<(), End> {
        let mut trace = Trace::default();
        let d = self.descriptor;
        let decision = self.instance.route(&d, &mut trace);
        let (steered, table) = self.steered(&trace.steered);
        let mut routes =
            table.map_or_else(Vec::new, |table| self.policy.routes_to(table, d.key.dst_ip()));
        let mut said = table.map_or_else(String::new, |table| self.matched(table, &routes));
        let route = routes.pop();
        if !self.policy.down().is_empty() {
            said.insert_str(0, &format!("routes by {} are withdrawn; ", self.down()));
        }
        let steered = std::mem::take(&mut self.follows) + &steered;
        said.insert_str(0, &steered);
        match decision {
            RouteDecision::Forward(id) => {
                let hop = *self.policy.next_hop(id);
                let address = ip_of(hop.family, hop.via.unwrap_or(d.key.dst));
                let mut text = match hop.via {
                    Some(_) => format!("{said}via {address}"),
                    None => format!("{said}on the link"),
                };
                if trace.choices > 1 {
                    text.push_str(&format!(" (this flow's, of {} next hops)", trace.choices));
                }
                self.way.route = route;
                self.routed(text, Hop { interface: hop.interface, address });
                Ok(())
            }
            RouteDecision::Local(_) => {
                let reason = evaluate::not_taken(&d);
                self.drop(Stage::Route, lower(reason.help()), Vec::new(), reason)
            }
            RouteDecision::Drop(reason) if evaluate::returns_to_link(&d, reason) => {
                let hop = Hop { interface: InterfaceId(d.ingress), address: d.key.dst_ip() };
                self.routed("link-local: back to the link that it came from".into(), hop);
                Ok(())
            }
            RouteDecision::Drop(reason) => {
                let by_route = matches!(
                    reason,
                    DropReason::Blackhole
                        | DropReason::RejectRoute
                        | DropReason::ProhibitRoute
                        | DropReason::RouteLoop
                        | DropReason::DirectedBroadcast
                );
                // What the packet is comes first; only where no route was found, routes led there.
                if route.is_some() && !by_route && reason != DropReason::NoRoute {
                    said = steered;
                }
                self.way.route = route.filter(|_| by_route);
                let text = format!("{said}{}", lower(reason.help()));
                let answer = match reason {
                    DropReason::NoRoute | DropReason::PolicyUnreachableReject => Answer::NoRoute,
                    DropReason::RejectRoute => Answer::RejectRoute,
                    DropReason::ProhibitRoute | DropReason::PolicyReject => Answer::Prohibited,
                    _ => return self.drop(Stage::Route, text, Vec::new(), reason),
                };
                self.told(Stage::Route, text, Vec::new(), reason, answer)
            }
        }
    }

    /// The policy routes that matched, for people, and the table that is asked in the end; `None`
    /// where a policy route decides without one.
    fn steered(
        &mut self,
        matched: &[(RuleSlot, Option<RouteDecision>)],
    ) -> (String, Option<TableId>) {
        let mut said = String::new();
        let mut table = Some(self.instance.main_table());
        for &(slot, way) in matched {
            let Some(info) = self.policy.policy_route_at(slot) else { continue };
            let matched = MatchedPolicyRoute::new(info.route, way.is_some());
            said.push_str(&format!("{matched}; "));
            let decides = way.is_some() || info.route.unreachable != Unreachable::Next;
            if decides {
                table = match &info.route.action {
                    PolicyAction::Table(name) => self.instance.table_named(name),
                    _ => None,
                };
            }
            self.way.policy_routes.push(matched);
        }
        (said, table)
    }

    /// A later fragment that would be routed by its first's ports, which the question may give.
    pub(super) fn follow(&mut self, q: &Query) {
        let d = &mut self.descriptor;
        let followed = self.instance.steers_by_ports(d) || self.instance.tracks();
        if d.fragment != Fragment::Later || !followed {
            return;
        }
        if (q.src_port, q.dst_port) == (0, 0) {
            self.follows = "a later fragment, which waits for its first and follows that; if the \
                            first does not come (give its ports to see where it would lead): "
                .into();
            return;
        }
        (d.key.src_port, d.key.dst_port) = (q.src_port, q.dst_port);
        d.flags |= DescriptorFlags::FIRST_KNOWN;
        self.follows =
            format!("follows its first fragment, from port {} to {}; ", q.src_port, q.dst_port);
    }

    /// The routes that a packet takes from table to table, for people.
    fn matched(&self, table: TableId, routes: &[MatchedRoute]) -> String {
        let mut instance = &self.instance.name;
        let mut said = String::new();
        for route in self.policy.unresolved_to(table, self.descriptor.key.dst_ip()) {
            let (prefix, owner) = (route.prefix, route.owner);
            said.push_str(&format!("{prefix} ({owner}) waits for a route to its next hop; "));
        }
        for route in routes {
            if *instance != route.instance {
                instance = &route.instance;
                said.push_str(&format!("instance {instance}: "));
            }
            said.push_str(&format!("{route}: "));
        }
        said
    }

    /// The ports that do not work.
    fn down(&self) -> String {
        let down = self.policy.down().iter().filter_map(|&id| self.policy.port(id));
        let names: Vec<&str> = down.map(|port| &*port.name).collect();
        names.join(", ")
    }

    /// The route decision: out there.
    fn routed(&mut self, mut text: String, hop: Hop) {
        if let Some(interface) = self.policy.interface(hop.interface) {
            text.push_str(&format!(", out by {}", interface.name));
            self.way.egress = Some(interface.name.clone());
            self.way.mtu = Some(interface.mtu);
            self.way.next_hop_state = Some(self.neighbour(interface, hop.address));
            self.way.egress_state = self.port(interface);
        }
        self.way.next_hop = Some(hop.address);
        self.hop = Some(hop);
        self.pass(Stage::Route, text, Vec::new());
    }
}
