use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteNextHop, RouteProtocol};
use sluice_policy::config;
use sluice_policy::model::State;

use super::*;

const MAIN: u8 = 254;

fn policy() -> Policy {
    let text = "
ports:
  lan: { device: 'net_af_packet0,iface=eth7', addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  wan: { device: net_null1, addresses: 10.0.2.1/24 }
";
    let state = config::read(text.as_bytes(), "test.yaml").unwrap().state;
    Policy::empty().apply(&State::default().difference(&state)).unwrap()
}

fn followed(protocols: &[u8]) -> Vec<KernelRoutes> {
    let (instance, into) = ("default".into(), "main".into());
    let protocols = protocols.iter().copied().collect();
    vec![KernelRoutes { table: MAIN.into(), instance, into, protocols }]
}

/// A route of the main table over such gateways and links.
fn route(prefix: &str, protocol: u8, metric: u32, hops: &[(&str, u32)]) -> RouteMessage {
    let prefix: IpNet = prefix.parse().unwrap();
    let mut message = RouteMessage::default();
    message.header.address_family = match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = prefix.prefix_len();
    message.header.table = MAIN;
    message.header.protocol = RouteProtocol::from(protocol);
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Destination(prefix.network().into()));
    message.attributes.push(RouteAttribute::Priority(metric));
    let gateway =
        |via: &str| via.parse::<IpAddr>().ok().map(|via| RouteAttribute::Gateway(via.into()));
    if let [(via, link)] = hops {
        message.attributes.extend(gateway(via));
        message.attributes.push(RouteAttribute::Oif(*link));
    } else {
        let hop = |(via, link): &(&str, u32)| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = *link;
            hop.attributes.extend(gateway(via));
            hop
        };
        message.attributes.push(RouteAttribute::MultiPath(hops.iter().map(hop).collect()));
    }
    message
}

fn table(routes: Vec<RouteMessage>) -> Table {
    let links = [(1, "lo"), (2, "eth7"), (3, "wan")].map(|(index, name)| (index, name.to_owned()));
    Table::new(Snapshot { links: links.into(), routes })
}

/// Every route as `prefix owner metric tag hops`.
fn told(routes: &BTreeMap<RouteKey, Option<Route>>) -> Vec<String> {
    let hop = |hop: &NextHop| {
        let via = hop.via.map_or_else(String::new, |via| via.to_string());
        format!("{via}%{}", hop.interface.as_deref().unwrap_or_default())
    };
    let one = |(key, route): (&RouteKey, &Option<Route>)| {
        let RouteKey { prefix, owner, .. } = key;
        let Some(Route { target, metric, tag, .. }) = route else {
            return format!("{prefix} {owner} -");
        };
        let way = match target {
            Target::NextHops(hops) => hops.iter().map(hop).collect::<Vec<_>>().join(" "),
            other => format!("{other:?}"),
        };
        format!("{prefix} {owner} {metric} {tag} {way}")
    };
    routes.iter().map(one).collect()
}

#[test]
fn routes_are_their_protocols_owners() {
    let table = table(vec![
        route("10.7.0.0/16", 12, 32, &[("10.0.2.2", 3)]),
        route("10.7.0.0/16", 186, 20, &[("10.0.2.3", 3)]),
        route("10.8.0.0/16", 188, 20, &[("10.0.2.2", 3), ("10.0.1.2", 2)]),
        route("10.8.8.0/24", 188, 20, &[("10.0.2.2", 3), ("10.0.2.2", 1)]),
        route("10.9.0.0/16", 16, 0, &[("", 2)]),
        route("10.10.0.0/16", 2, 0, &[("", 3)]),
        route("fd09::/16", 12, 0, &[("fe80::1", 2)]),
        route("10.11.0.0/16", 12, 0, &[("", 1)]),
    ]);
    assert_eq!(
        told(&table.all(&followed(&[]), &policy())),
        [
            "10.7.0.0/16 kernel 32 12 10.0.2.2%",
            "10.7.0.0/16 bgp 20 186 10.0.2.3%",
            "10.8.0.0/16 ospf 20 188 10.0.2.2% 10.0.1.2%",
            "10.8.8.0/24 ospf 20 188 10.0.2.2%",
            // By the port whose device it is; links that are not ours lead nowhere.
            "10.9.0.0/16 dhcp 0 16 %lan",
            "fd09::/16 kernel 0 12 fe80::1%lan",
        ]
    );
    assert_eq!(told(&table.all(&followed(&[188]), &policy())).len(), 2);
}

#[test]
fn of_one_prefix_the_lowest_metric_counts() {
    let mut table = table(vec![
        route("10.7.0.0/16", 12, 100, &[("10.0.2.2", 3)]),
        route("10.7.0.0/16", 11, 50, &[("10.0.2.3", 3)]),
    ]);
    let at = |table: &Table| {
        let place = (MAIN.into(), "10.7.0.0/16".parse().unwrap());
        let meaning = table.meaning(&[place].into(), &followed(&[]), &policy());
        assert_eq!(meaning.len(), 4, "one for each owner");
        told(&meaning).into_iter().find(|told| told.contains("kernel")).unwrap()
    };
    assert_eq!(at(&table), "10.7.0.0/16 kernel 50 11 10.0.2.3%");
    let gone = RouteNetlinkMessage::DelRoute(route("10.7.0.0/16", 11, 50, &[("10.0.2.3", 3)]));
    assert!(matches!(table.hear(0, &gone), News::At(_)));
    assert_eq!(at(&table), "10.7.0.0/16 kernel 100 12 10.0.2.2%");
    assert_eq!(table.hear(0, &gone), News::Nothing);
    // Replaced by another protocol's.
    let new = RouteNetlinkMessage::NewRoute(route("10.7.0.0/16", 4, 100, &[("10.0.2.9", 3)]));
    assert!(matches!(table.hear(NLM_F_REPLACE, &new), News::At(_)));
    assert_eq!(at(&table), "10.7.0.0/16 kernel 100 4 10.0.2.9%");
}

#[test]
fn what_is_left_open_is_not_guessed_at() {
    let several = [("10.0.2.2", 3), ("10.0.2.3", 3)];
    let mut table = table(vec![route("10.7.0.0/16", 12, 0, &several)]);
    let one = route("10.7.0.0/16", 12, 0, &several[..1]);
    let gone = RouteNetlinkMessage::DelRoute(one.clone());
    assert_eq!(table.hear(0, &gone), News::Unknown, "one next hop of several");
    let appended = RouteNetlinkMessage::NewRoute(one);
    assert_eq!(table.hear(NLM_F_CREATE | NLM_F_APPEND, &appended), News::Unknown);
    let link = RouteNetlinkMessage::DelLink(LinkMessage::default());
    assert_eq!(table.hear(0, &link), News::Unknown);
}
