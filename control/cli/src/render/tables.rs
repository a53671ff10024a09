//! Ports, interfaces, routes, neighbours, rules and policy routes.

use comfy_table::Cell;
use sluice_control_api::{Interface, Neighbour, PolicyRoute, Port, Route, Rule};
use sluice_policy::model::{ChecksumMode, NextHop, PolicyAction, Position, Target, Unreachable};

use super::{cell, duration, list, maybe, table};
use crate::style::{BAD, paint};

pub(crate) fn ports(ports: &[Port]) -> String {
    let mut text = table(
        ["PORT", "LINK", "#MTU", "MAC", "DRIVER", "#RXQ", "#TXQ", "WORKERS", "DEVICE"],
        ports.iter().map(|port| {
            let link = match (port.link, port.speed_mbps) {
                (false, _) => "down".into(),
                (true, None) => "up".into(),
                (true, Some(mbps)) if mbps % 1000 == 0 => format!("up, {} Gb/s", mbps / 1000),
                (true, Some(mbps)) => format!("up, {mbps} Mb/s"),
            };
            [
                Cell::new(&port.name),
                cell(link, !port.link),
                Cell::new(port.mtu),
                Cell::new(port.mac),
                Cell::new(&port.driver),
                Cell::new(port.rx_queues),
                Cell::new(port.tx_queues),
                Cell::new(list(&port.workers)),
                Cell::new(&port.device),
            ]
        }),
    );
    for port in ports {
        if let Some(error) = &port.error {
            text.push_str(&format!(
                "{}\n",
                paint(BAD, format_args!("port {}: {error}", port.name))
            ));
        }
    }
    text
}

pub(crate) fn interfaces(interfaces: &[Interface]) -> String {
    table(
        ["INTERFACE", "PORT", "VLAN", "INSTANCE", "#MTU", "CHECKSUM", "ADDRESSES"],
        interfaces.iter().map(|interface| {
            let checksum = interface.checksum.map(|mode| match mode {
                ChecksumMode::Verify => "verify",
                ChecksumMode::Complete => "complete",
                ChecksumMode::Trust => "trust",
            });
            [
                interface.name.to_string(),
                interface.port.to_string(),
                maybe(interface.vlan),
                interface.instance.to_string(),
                interface.mtu.to_string(),
                maybe(checksum),
                list(&interface.addresses),
            ]
        }),
    )
}

pub(crate) fn routes(routes: &[Route]) -> String {
    table(
        ["", "INSTANCE", "TABLE", "PREFIX", "OWNER", "#PREF", "TARGET", "WHERE"],
        routes.iter().map(|route| {
            [
                if route.active { "*" } else { "" }.into(),
                route.instance.to_string(),
                route.table.to_string(),
                route.prefix.to_string(),
                format!("{}{}", route.owner, if route.stale { " (stale)" } else { "" }),
                match route.metric {
                    0 => route.preference.to_string(),
                    metric => format!("{}/{metric}", route.preference),
                },
                format!("{}{}", target(&route.target), resolution(route)),
                maybe(route.position.as_ref().map(place)),
            ]
        }),
    )
}

fn target(target: &Target) -> String {
    match target {
        Target::Blackhole => "blackhole".into(),
        Target::Reject => "reject".into(),
        Target::Prohibit => "prohibit".into(),
        Target::Table { instance, table } => format!("lookup {instance} {table}"),
        Target::NextHops(hops) => next_hops(hops),
    }
}

fn next_hops(hops: &[NextHop]) -> String {
    let spread = hops.len() > 1;
    hops.iter().map(|hop| next_hop(hop, spread)).collect::<Vec<_>>().join(", ")
}

/// What next hops that are on no link resolve through.
fn resolution(route: &Route) -> String {
    if route.unresolved {
        " (unresolved)".into()
    } else if route.through.is_empty() {
        String::new()
    } else {
        format!(" (through {})", list(&route.through))
    }
}

fn next_hop(hop: &NextHop, spread: bool) -> String {
    let mut words = Vec::new();
    if let Some(via) = hop.via {
        words.push(format!("via {via}"));
    }
    if let Some(interface) = &hop.interface {
        words.push(format!("dev {interface}"));
    }
    if spread && hop.weight != 1 {
        words.push(format!("weight {}", hop.weight));
    }
    words.join(" ")
}

/// `FILE:LINE`; the column is for editors, which read JSON.
pub(super) fn place(position: &Position) -> String {
    match position.line {
        0 => position.file.to_string(),
        line => format!("{}:{line}", position.file),
    }
}

pub(crate) fn neighbours(neighbours: &[Neighbour]) -> String {
    table(
        ["INTERFACE", "ADDRESS", "MAC", "STATE", "AGE"],
        neighbours.iter().map(|neighbour| {
            [
                Cell::new(&neighbour.interface),
                Cell::new(neighbour.address),
                Cell::new(maybe(neighbour.mac)),
                cell(&neighbour.state, neighbour.state == "failed"),
                Cell::new(duration(neighbour.age_seconds)),
            ]
        }),
    )
}

/// A star marks those that have a way out; behind the target stands what happens to packets where
/// there is none.
pub(crate) fn policy_routes(routes: &[PolicyRoute]) -> String {
    table(
        [
            "",
            "INSTANCE",
            "#PLACE",
            "POLICY-ROUTE",
            "#PACKETS",
            "#BYTES",
            "MATCHES",
            "TARGET",
            "WHERE",
        ],
        routes.iter().map(|route| {
            let blocks = match route.unreachable {
                Unreachable::Next => String::new(),
                unreachable => format!(", else {}", unreachable.name()),
            };
            [
                if route.reachable { "*" } else { "" }.into(),
                route.instance.to_string(),
                route.place.to_string(),
                route.name.to_string(),
                route.packets.to_string(),
                route.bytes.to_string(),
                route.matches.clone(),
                format!("{}{blocks}", policy_action(&route.action)),
                maybe(route.position.as_ref().map(place)),
            ]
        }),
    )
}

fn policy_action(action: &PolicyAction) -> String {
    match action {
        PolicyAction::Table(table) => format!("table {table}"),
        PolicyAction::NextHops(hops) => next_hops(hops),
        PolicyAction::Drop => "drop".into(),
        PolicyAction::Reject => "reject".into(),
    }
}

pub(crate) fn rules(rules: &[Rule]) -> String {
    table(
        [
            "INSTANCE", "FILTER", "#PLACE", "RULE", "ACTION", "#PACKETS", "#BYTES", "MATCHES",
            "WHERE",
        ],
        rules.iter().map(|rule| {
            let log = if rule.log { ", log" } else { "" };
            [
                rule.instance.to_string(),
                rule.point.name().into(),
                rule.place.to_string(),
                rule.name.to_string(),
                format!("{}{log}", rule.action.name()),
                rule.packets.to_string(),
                rule.bytes.to_string(),
                rule.matches.clone(),
                maybe(rule.position.as_ref().map(place)),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use sluice_policy::model::{Action, FilterPoint, MacAddress, Owner};

    use super::*;

    #[test]
    fn routes_read_like_the_command_that_adds_them() {
        let hop = |via: &str, interface: Option<&str>, weight| NextHop {
            via: Some(via.parse().unwrap()),
            interface: interface.map(Into::into),
            weight,
        };
        let targets = [
            Target::NextHops([hop("10.0.2.2", Some("wan"), 1)].into()),
            Target::NextHops([hop("10.0.2.2", None, 1), hop("10.0.2.3", None, 2)].into()),
            Target::Blackhole,
        ];
        let texts: Vec<_> = targets.iter().map(target).collect();
        assert_eq!(
            texts,
            ["via 10.0.2.2 dev wan", "via 10.0.2.2, via 10.0.2.3 weight 2", "blackhole"]
        );
    }

    #[test]
    fn a_route_table_has_one_line_a_route() {
        let position = Position { file: "lab.yaml".into(), line: 7, column: 5 };
        let route = Route {
            instance: "default".into(),
            prefix: "10.9.0.0/16".parse().unwrap(),
            table: "main".into(),
            owner: Owner::Static,
            preference: 5,
            metric: 0,
            tag: 0,
            generation: 3,
            target: Target::Reject,
            unresolved: false,
            through: Vec::new(),
            active: true,
            stale: false,
            position: Some(position),
        };
        let text =
            routes(&[route.clone(), Route { active: false, position: None, ..route.clone() }]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let words: Vec<_> = lines[1].split_whitespace().collect();
        let expected =
            ["*", "default", "main", "10.9.0.0/16", "static", "5", "reject", "lab.yaml:7"];
        assert_eq!(words, expected);
        assert!(lines[2].trim_start().starts_with("default"));
        let through = vec!["10.8.0.0/16".parse().unwrap()];
        let text = routes(&[Route { through, metric: 7, ..route.clone() }]);
        assert!(text.contains("reject (through 10.8.0.0/16)") && text.contains("5/7"), "{text}");
        let text = routes(&[Route { unresolved: true, ..route }]);
        assert!(text.contains("reject (unresolved)"), "{text}");
    }

    #[test]
    fn a_port_that_failed_says_why() {
        let port = Port {
            name: "lan".into(),
            device: "net_af_packet0,iface=veth0".into(),
            driver: "net_af_packet".into(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            link: true,
            speed_mbps: Some(10_000),
            mtu: 1500,
            rx_queues: 1,
            tx_queues: 1,
            workers: vec![0, 1],
            error: Some("veth0 is gone".into()),
        };
        let text = ports(&[port]);
        assert!(text.contains("up, 10 Gb/s") && text.contains("0,1"), "{text}");
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.ends_with("port lan: veth0 is gone\n"), "{text}");
    }

    #[test]
    fn the_default_action_is_a_rule_without_a_place_in_the_file() {
        let rule = Rule {
            instance: "default".into(),
            point: FilterPoint::Forward,
            place: 1,
            name: "default".into(),
            matches: "everything else".into(),
            action: Action::Accept,
            log: false,
            packets: 12,
            bytes: 1200,
            position: None,
        };
        let text = rules(&[rule]);
        let line = text.lines().nth(1).unwrap();
        assert!(line.contains("forward") && line.contains("12") && line.ends_with('-'), "{text}");
    }
}
