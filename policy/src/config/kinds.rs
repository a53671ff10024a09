//! What a scalar of the configuration file can be: how it is understood, and its JSON Schema.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::kernel::PROTOCOLS as ROUTE_PROTOCOLS;
use super::node::Kind;
use crate::device::{MAX_MTU, MIN_MTU};
use crate::event::{self, Event, Stage};
use crate::flows::UNITS;
use crate::model::{
    self, ChecksumMode, IcmpMatch, MAX_TIMEOUT, MacAddress, Name, Standing, TcpFlags,
};
use crate::order::Hint;
use crate::policy::{Mistake, Naming, is_name};

/// Declares a kind: its value, its schema and how its text is understood.
macro_rules! kind {
    ($(#[$doc:meta])* $name:ident($text:ident) -> $value:ty, $schema:tt, $parse:expr) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl Kind for $name {
            type Value = $value;

            fn parse($text: &str) -> Result<$value, String> {
                $parse
            }

            fn schema() -> Schema {
                json_schema!($schema)
            }
        }
    };
}

kind!(Device(text) -> String, {
    "type": "string",
    "examples": ["0000:03:00.0", "net_af_packet0,iface=eth0", "net_af_xdp0,iface=eth0", "virtio_user0,path=/run/vhost.sock,queues=1"]
}, Ok(text.to_owned()));

kind!(Mac(text) -> MacAddress, {
    "type": "string",
    "pattern": "^[0-9A-Fa-f]{1,2}([:-][0-9A-Fa-f]{1,2}){5}$"
}, text.parse().map_err(|error| format!("`{text}` is {error}")));

kind!(Mtu(text) -> u16, { "type": "integer", "minimum": MIN_MTU, "maximum": MAX_MTU }, number(text, MIN_MTU, MAX_MTU));
kind!(Queues(text) -> u16, { "type": "integer", "minimum": 1, "maximum": 64 }, number(text, 1, 64));
kind!(Worker(text) -> u16, { "type": "integer", "minimum": 0, "maximum": 1023 }, number(text, 0, 1023));
kind!(Core(text) -> u16, { "type": "integer", "minimum": 0, "maximum": 1023 }, number(text, 0, 1023));
kind!(Memory(text) -> u32, { "type": "integer", "minimum": 64, "maximum": 1_048_576 }, number(text, 64, 1 << 20));
kind!(Weight(text) -> u16, { "type": "integer", "minimum": 1, "maximum": 256 }, number(text, 1, 256));
kind!(Vlan(text) -> u16, { "type": "integer", "minimum": 1, "maximum": 4094 }, number(text, 1, 4094));
kind!(YesNo(text) -> bool, { "type": "boolean" }, choice(text, &[("true", true), ("false", false)]));

kind!(Interface(text) -> Name, { "type": "string" }, Ok(text.into()));
kind!(InstanceName(text) -> Name, { "type": "string" }, Ok(text.into()));
kind!(TableName(text) -> Name, { "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,62}$" },
    match is_name(text, Naming::Plain) {
        true => Ok(text.into()),
        false => Err(Mistake::BadName(text.into()).to_string()),
    }
);
kind!(RuleName(text) -> Name, { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" }, Ok(text.into()));

kind!(Checksum(text) -> ChecksumMode, { "enum": ["verify", "complete", "trust"] }, choice(text, &[
    ("verify", ChecksumMode::Verify),
    ("complete", ChecksumMode::Complete),
    ("trust", ChecksumMode::Trust),
]));

kind!(Action(text) -> model::Action, { "enum": ["accept", "drop", "reject", "count"] }, choice(text, &[
    ("accept", model::Action::Accept),
    ("drop", model::Action::Drop),
    ("reject", model::Action::Reject),
    ("count", model::Action::Count),
]));

kind!(DefaultAction(text) -> model::Action, { "enum": ["accept", "drop", "reject"] }, choice(text, &[
    ("accept", model::Action::Accept),
    ("drop", model::Action::Drop),
    ("reject", model::Action::Reject),
]));

kind!(StageName(text) -> Stage, {
    "enum": ["ingress-filter", "route", "forward-filter", "hop-limit", "mtu", "egress-filter"]
}, {
    let hooks: Vec<_> =
        Stage::ALL.iter().filter(|s| s.placed()).map(|s| (s.name(), *s)).collect();
    choice(text, &hooks)
});

kind!(EventName(text) -> Event, {
    "enum": [
        "observing", "physical-in", "loopback-in", "loopback-out", "route-decision", "forwarding",
        "physical-out", "nic-events"
    ]
}, choice(text, &Event::ALL.map(|event| (event.key(), event))));

kind!(HookProtocol(text) -> event::Protocol, { "enum": ["inet", "inet6", "arp"] },
    choice(text, &event::Protocol::ALL.map(|protocol| (protocol.name(), protocol)))
);

kind!(
    /// An end of an event's order.
    End(text) -> Hint, { "enum": ["first", "last"] },
    match text {
        "first" => Ok(Hint::First),
        "last" => Ok(Hint::Last),
        _ => Err(format!(
            "`{text}` is not one of first, last, {{ before: HOOK }}, {{ after: HOOK }}"
        )),
    }
);

kind!(HookName(text) -> Name, { "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,62}$" }, Ok(text.into()));

kind!(
    /// The file that a hook is.
    HookPath(text) -> Name, { "type": "string", "pattern": "^/", "examples": ["/usr/lib/sluice/hundredth.so"] },
    match text.starts_with('/') {
        true => Ok(text.into()),
        false => Err(Mistake::BadPath(text.into()).to_string()),
    }
);

kind!(
    /// What a program is told: it reads it itself.
    Setting(text) -> String, { "type": ["string", "number", "boolean"] }, Ok(text.to_owned())
);

kind!(
    /// An interface's own address with the length of its network.
    Address(text) -> IpNet, { "type": "string", "examples": ["10.0.1.1/24", "fd00:1::1/64"] },
    match text.parse::<IpNet>() {
        Ok(net) => Ok(net),
        Err(_) if text.parse::<IpAddr>().is_ok() => {
            Err(format!("`{text}` lacks the length of its network, such as {text}/24"))
        }
        Err(_) => Err(format!("`{text}` is not an address with the length of its network, such as 10.0.1.1/24 or fd00::1/64")),
    }
);

kind!(
    /// A network: an address without a length is that host. Whether host bits are set is for the
    /// policy to judge.
    Prefix(text) -> IpNet, { "type": "string", "examples": ["10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "10.0.0.7"] },
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        format!("`{text}` is not a network, such as 10.1.0.0/16, 2001:db8::/32 or ::/0")
    })
);

/// An item of a rule's list: a value, or the name of a set of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item<T> {
    /// A value.
    Value(T),
    /// The set of this name; written `$NAME`.
    Set(Name),
}

impl<T> Item<T> {
    fn parse(text: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Item<T>, String> {
        match text.strip_prefix('$') {
            Some("") => Err("`$` is followed by the name of a set, such as $servers".into()),
            Some(name) => Ok(Item::Set(name.into())),
            None => value(text).map(Item::Value),
        }
    }

    fn schema(value: Schema) -> Schema {
        let set = json_schema!({ "type": "string", "pattern": "^\\$[A-Za-z][A-Za-z0-9_-]{0,62}$" });
        json_schema!({ "anyOf": [value, set] })
    }
}

/// A network, or the name of a set of networks.
pub(super) enum Networks {}

impl Kind for Networks {
    type Value = Item<IpNet>;

    fn parse(text: &str) -> Result<Item<IpNet>, String> {
        Item::parse(text, Prefix::parse)
    }

    fn schema() -> Schema {
        Item::<IpNet>::schema(Prefix::schema())
    }
}

/// A port, a range of ports, or the name of a set of ports.
pub(super) enum Ports {}

impl Kind for Ports {
    type Value = Item<RangeInclusive<u16>>;

    fn parse(text: &str) -> Result<Item<RangeInclusive<u16>>, String> {
        Item::parse(text, PortRange::parse)
    }

    fn schema() -> Schema {
        Item::<RangeInclusive<u16>>::schema(PortRange::schema())
    }
}

kind!(IpAddress(text) -> IpAddr, { "type": "string", "examples": ["10.0.2.2", "fd00:2::2"] },
    text.parse().map_err(|_| match text.contains('/') {
        true => format!("`{text}` is a network: give an address without the /length"),
        false => format!("`{text}` is not an IPv4 or IPv6 address"),
    })
);

const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("sctp", 132),
    ("dccp", 33),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("udplite", 136),
];

kind!(Protocol(text) -> u8, {
    "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 255 },
        { "enum": PROTOCOLS.iter().map(|p| p.0).collect::<Vec<_>>() }
    ]
}, {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|p| p.1);
    named.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|p| p.0).collect();
        format!("`{text}` is not a protocol: use a number from 0 to 255 or one of {}", names.join(", "))
    })
});

kind!(
    /// A table of the kernel's routes.
    KernelTable(text) -> u32, {
    "anyOf": [{ "type": "integer", "minimum": 1, "maximum": u32::MAX }, { "enum": ["main", "default"] }]
}, match text {
    "main" => Ok(254),
    "default" => Ok(253),
    _ => text.parse().ok().filter(|number| *number != 0).ok_or_else(|| {
        format!("`{text}` is not a table of the kernel: use a number from 1 to {} or `main`", u32::MAX)
    }),
});

kind!(
    /// Who wrote a route into the kernel's table.
    RouteProtocol(text) -> u8, {
    "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 255 },
        { "enum": ROUTE_PROTOCOLS.iter().map(|p| p.0).collect::<Vec<_>>() }
    ]
}, {
    let named = ROUTE_PROTOCOLS.iter().find(|(name, _)| *name == text).map(|p| p.1);
    named.or_else(|| text.parse().ok().filter(|number| *number != 0)).ok_or_else(|| {
        let names: Vec<&str> = ROUTE_PROTOCOLS.iter().map(|p| p.0).collect();
        format!("`{text}` is not a routing protocol: use a number from 1 to 255 or one of {}", names.join(", "))
    })
});

kind!(
    /// A differentiated services code point by number or by name (RFC 2474, 2597, 3246, 5865, 8622).
    Dscp(text) -> u8, {
    "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 63 },
        { "enum": DSCPS.iter().map(|d| d.0).collect::<Vec<_>>() }
    ]
}, {
    let named = DSCPS.iter().find(|(name, _)| *name == text).map(|d| d.1);
    named.or_else(|| text.parse().ok().filter(|number| *number < 64)).ok_or_else(|| {
        let names: Vec<&str> = DSCPS.iter().map(|d| d.0).collect();
        format!("`{text}` is not a DSCP: use a number from 0 to 63 or one of {}", names.join(", "))
    })
});

const DSCPS: &[(&str, u8)] = &[
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("voice-admit", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

kind!(Unreachable(text) -> model::Unreachable, { "enum": ["next", "drop", "reject"] }, choice(text, &[
    ("next", model::Unreachable::Next),
    ("drop", model::Unreachable::Drop),
    ("reject", model::Unreachable::Reject),
]));

kind!(PortRange(text) -> RangeInclusive<u16>, {
    "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 65535 },
        { "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$" }
    ]
}, {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        (Ok(first), Ok(last)) => Err(format!("`{text}` ends before it begins: write {last}-{first}")),
        _ => Err(format!("`{text}` is not a port from 0 to 65535 or a range such as \"1000-2000\"")),
    }
});

const TCP_FLAGS: &[&str] = &["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

kind!(TcpFlagList(text) -> TcpFlags, {
    "type": "string",
    "pattern": "^\\s*!?(fin|syn|rst|psh|ack|urg|ece|cwr)(\\s*,\\s*!?(fin|syn|rst|psh|ack|urg|ece|cwr))*\\s*$"
}, {
    let mut flags = TcpFlags::default();
    for word in text.split(',').map(str::trim) {
        let (name, clear) = word.strip_prefix('!').map_or((word, false), |name| (name, true));
        let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
            let allowed = TCP_FLAGS.join(", ");
            return Err(format!("`{word}` is not a TCP flag: use {allowed}, after ! for a clear one"));
        };
        *(if clear { &mut flags.clear } else { &mut flags.set }) |= 1 << bit;
    }
    Ok(flags)
});

kind!(State(text) -> Standing, { "enum": Standing::ALL.map(Standing::name) },
    choice(text, &Standing::ALL.map(|state| (state.name(), state)))
);

kind!(
    /// So many in a second, a minute or an hour.
    NewFlows(text) -> (u32, u32), { "type": "string", "pattern": "^[0-9]+/(s|m|h)$", "examples": ["100/s", "30/m"] },
    {
        let unit = |name: &str| UNITS.iter().find(|(unit, _)| *unit == name).map(|unit| unit.1);
        let parts = text.split_once('/');
        let rate = parts.and_then(|(count, name)| Some((count.parse::<u32>().ok()?, unit(name)?)));
        rate.filter(|(count, _)| *count > 0)
            .ok_or_else(|| format!("`{text}` is not a rate, such as 100/s, 30/m or 1000/h"))
    }
);

kind!(
    /// A time in whole seconds, of up to a week.
    Seconds(text) -> u32, { "type": "string", "examples": ["2h4m", "90s"] },
    match humantime::parse_duration(text) {
        Ok(time) if time.subsec_nanos() == 0 && (1..=MAX_TIMEOUT.into()).contains(&time.as_secs()) => {
            Ok(time.as_secs() as u32)
        }
        Ok(_) => Err(format!("`{text}` is out of range: whole seconds from 1s to 7d")),
        Err(_) => Err(format!("`{text}` is not a time with its unit, such as 90s, 5m or 2h4m")),
    }
);

/// A name's type and code in ICMP and in ICMPv6.
type IcmpName = (&'static str, Option<(u8, Option<u8>)>, Option<(u8, Option<u8>)>);

const ICMP_NAMES: &[IcmpName] = &[
    ("echo-request", Some((8, None)), Some((128, None))),
    ("echo-reply", Some((0, None)), Some((129, None))),
    ("destination-unreachable", Some((3, None)), Some((1, None))),
    ("port-unreachable", Some((3, Some(3))), Some((1, Some(4)))),
    ("fragmentation-needed", Some((3, Some(4))), None),
    ("packet-too-big", None, Some((2, None))),
    ("time-exceeded", Some((11, None)), Some((3, None))),
    ("parameter-problem", Some((12, None)), Some((4, None))),
    ("redirect", Some((5, None)), Some((137, None))),
    ("router-solicitation", Some((10, None)), Some((133, None))),
    ("router-advertisement", Some((9, None)), Some((134, None))),
    ("timestamp-request", Some((13, None)), None),
    ("timestamp-reply", Some((14, None)), None),
    ("mld-query", None, Some((130, None))),
    ("mld-report", None, Some((131, None))),
    ("mld-done", None, Some((132, None))),
    ("neighbour-solicitation", None, Some((135, None))),
    ("neighbour-advertisement", None, Some((136, None))),
    ("mld2-report", None, Some((143, None))),
];

/// A type of ICMP, of ICMPv6 or of both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IcmpType {
    /// What it is in ICMP.
    pub(super) icmp: Option<IcmpMatch>,
    /// What it is in ICMPv6.
    pub(super) icmpv6: Option<IcmpMatch>,
    /// Whether it was given as a number.
    pub(super) number: bool,
}

impl IcmpType {
    /// Whether it can stand for both without matching something else: an echo, whose number in
    /// one protocol means nothing in the other.
    pub(super) fn is_echo(&self) -> bool {
        !self.number && self.icmpv6.is_some_and(|v6| matches!(v6.kind, 128 | 129))
    }
}

kind!(Icmp(text) -> IcmpType, {
    "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 255 },
        { "type": "string", "pattern": "^[0-9]{1,3}/[0-9]{1,3}$" },
        { "enum": ICMP_NAMES.iter().map(|n| n.0).collect::<Vec<_>>() }
    ]
}, {
    let matching = |(kind, code)| IcmpMatch { kind, code };
    if let Some((_, icmp, icmpv6)) = ICMP_NAMES.iter().find(|(name, ..)| *name == text) {
        let (icmp, icmpv6) = (icmp.map(matching), icmpv6.map(matching));
        return Ok(IcmpType { icmp, icmpv6, number: false });
    }
    let numbers = match text.split_once('/') {
        Some((kind, code)) => kind.parse().ok().zip(code.parse().ok().map(Some)),
        None => text.parse().ok().map(|kind| (kind, None)),
    };
    let numbers = numbers.map(matching).ok_or_else(|| {
        let names: Vec<&str> = ICMP_NAMES.iter().map(|n| n.0).collect();
        format!("`{text}` is not an ICMP type: use a number, TYPE/CODE, or one of {}", names.join(", "))
    })?;
    Ok(IcmpType { icmp: Some(numbers), icmpv6: Some(numbers), number: true })
});

/// A whole number between two bounds.
pub(super) struct Count<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Kind for Count<MIN, MAX> {
    type Value = u32;

    fn parse(text: &str) -> Result<u32, String> {
        number(text, MIN, MAX)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

fn number<T>(text: &str, min: T, max: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => Err(format!("`{text}` is not a whole number from {min} to {max}")),
    }
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = choices.iter().find(|(name, _)| *name == text).map(|c| c.1);
    chosen.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|c| c.0).collect();
        format!("`{text}` is not one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_flags_are_header_bits() {
        assert_eq!(TcpFlagList::parse("syn,!ack"), Ok(TcpFlags { set: 2, clear: 16 }));
        assert_eq!(TcpFlagList::parse(" fin , rst "), Ok(TcpFlags { set: 5, clear: 0 }));
        assert!(TcpFlagList::parse("syn,,ack").unwrap_err().contains("not a TCP flag"));
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        assert_eq!(PortRange::parse("80"), Ok(80..=80));
        assert_eq!(PortRange::parse("1000-2000"), Ok(1000..=2000));
        assert_eq!(PortRange::parse("9-1").unwrap_err(), "`9-1` ends before it begins: write 1-9");
        assert!(PortRange::parse("65536").is_err() && PortRange::parse("-1").is_err());
    }

    #[test]
    fn icmp_types_have_two_families() {
        let too_big = Icmp::parse("packet-too-big").unwrap();
        assert_eq!((too_big.icmp, too_big.icmpv6), (None, Some(IcmpMatch { kind: 2, code: None })));
        let numbers = Icmp::parse("3/4").unwrap();
        assert_eq!(numbers.icmp, Some(IcmpMatch { kind: 3, code: Some(4) }));
        assert!(Icmp::parse("echo-request").unwrap().is_echo() && !numbers.is_echo());
        assert!(Icmp::parse("3/256").is_err() && Icmp::parse("ping").is_err());
    }

    #[test]
    fn networks_may_be_hosts() {
        assert_eq!(Prefix::parse("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert!(Prefix::parse("10.0.0.0/33").unwrap_err().contains("`10.0.0.0/33`"));
        assert!(Address::parse("10.0.0.1").unwrap_err().contains("10.0.0.1/24"));
    }
}
