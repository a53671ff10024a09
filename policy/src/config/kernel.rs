//! From the document to what the control process does beside the state: which routes of the kernel it
//! follows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::document::KernelRoutesDocument;
use super::node::At;
use super::reader::{Reader, key_of};
use crate::model::{DEFAULT_INSTANCE, MAIN_TABLE, Name};
use crate::policy::Policy;

/// A table of the kernel whose routes are followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KernelRoutes {
    /// The kernel's table, by number.
    pub table: u32,
    /// The instance that gets the routes.
    pub instance: Name,
    /// The instance's table that gets them.
    pub into: Name,
    /// The routing protocols (`RTPROT_…` of rtnetlink(7)) whose routes are followed; empty follows
    /// all but those that the kernel makes by itself.
    pub protocols: BTreeSet<u8>,
}

impl KernelRoutes {
    /// Whether the routes of a protocol are followed.
    pub fn follows(&self, protocol: u8) -> bool {
        match self.protocols.is_empty() {
            true => !OWN.contains(&protocol),
            false => self.protocols.contains(&protocol),
        }
    }
}

/// What the kernel makes by itself: redirects, connected networks, router advertisements.
const OWN: [u8; 3] = [1, 2, 9];

/// The number of the kernel's table `main`.
const MAIN: u32 = 254;

/// Protocols by the names that `ip route` has for them.
pub(super) const PROTOCOLS: [(&str, u8); 21] = [
    ("redirect", 1),
    ("kernel", 2),
    ("boot", 3),
    ("static", 4),
    ("gated", 8),
    ("ra", 9),
    ("mrt", 10),
    ("zebra", 11),
    ("bird", 12),
    ("dnrouted", 13),
    ("xorp", 14),
    ("ntk", 15),
    ("dhcp", 16),
    ("keepalived", 18),
    ("babel", 42),
    ("openr", 99),
    ("bgp", 186),
    ("isis", 187),
    ("ospf", 188),
    ("rip", 189),
    ("eigrp", 192),
];

/// Converts the list; where routes lead is judged by the `policy` of the whole file, if it makes
/// sense.
pub(super) fn convert(
    documents: &[At<KernelRoutesDocument>],
    policy: Option<&Policy>,
    reader: &mut Reader,
) -> Vec<KernelRoutes> {
    let mut followed: Vec<KernelRoutes> = Vec::new();
    for (i, At { value, place }) in documents.iter().enumerate() {
        let path = format!("kernel-routes[{i}]");
        let instance = reader.one(&path, "instance", &value.instance);
        let into = reader.one(&path, "into", &value.into);
        let routes = KernelRoutes {
            table: reader.one(&path, "table", &value.table).unwrap_or(MAIN),
            instance: instance.unwrap_or_else(|| DEFAULT_INSTANCE.into()),
            into: into.unwrap_or_else(|| MAIN_TABLE.into()),
            protocols: reader.any_of(&path, "protocols", &value.protocols).into_iter().collect(),
        };
        let KernelRoutes { instance, into, .. } = &routes;
        if followed.iter().any(|other| (&other.instance, &other.into) == (instance, into)) {
            let message = format!(
                "another entry leads into table {into} of instance {instance} already: give each a \
                 table of its own"
            );
            reader.add(*place, path.clone(), message);
        }
        match policy.map(|policy| policy.instance_named(instance)) {
            Some(None) => {
                let place = value.instance.as_ref().map_or(*place, |given| given.place);
                let message =
                    format!("there is no instance `{instance}`: write it under `instances:`");
                reader.add(place, key_of(&path, "instance"), message);
            }
            Some(Some(known)) if known.table_named(into).is_none() => {
                let place = value.into.as_ref().map_or(*place, |given| given.place);
                let message =
                    format!("instance {instance} has no table `{into}`: write it under `tables:`");
                reader.add(place, key_of(&path, "into"), message);
            }
            _ => {}
        }
        followed.push(routes);
    }
    followed
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{bad, good};

    const PORTS: &str = "ports: { a: { device: net_null0, addresses: 10.1.0.1/24 } }\n";

    #[test]
    fn tables_of_the_kernel_are_read() {
        assert_eq!(good(PORTS).kernel_routes, []);
        let read = good(&format!(
            "{PORTS}tables: [learnt]\ninstances: {{ blue: {{}} }}\nkernel-routes:\n  - {{}}\n  - \
             {{ table: 7, into: learnt, protocols: [bird, 186] }}\n  - {{ instance: blue }}\n"
        ));
        let [all, few, blue] = &read.kernel_routes[..] else { panic!("{read:?}") };
        assert_eq!((all.table, &*all.instance, &*all.into), (254, "default", "main"));
        assert!(all.follows(12) && all.follows(16) && !all.follows(2) && !all.follows(9));
        assert_eq!((few.table, &*few.into), (7, "learnt"));
        assert!(few.follows(12) && few.follows(186) && !few.follows(11));
        assert_eq!(&*blue.instance, "blue");
    }

    #[test]
    fn mistakes_are_named() {
        for (entry, says) in [
            ("{ instance: green }", "kernel-routes[0].instance: there is no instance `green`"),
            ("{ into: green }", "kernel-routes[0].into: instance default has no table `green`"),
            ("{ table: 0 }", "kernel-routes[0].table: `0` is not a table of the kernel"),
            (
                "{ protocols: [birdd] }",
                "kernel-routes[0].protocols: `birdd` is not a routing protocol",
            ),
            ("{ protocols: [] }", "kernel-routes[0].protocols: an empty list"),
            ("{}\n  - { table: 7 }", "kernel-routes[1]: another entry leads into table main"),
        ] {
            let said = bad(format!("{PORTS}kernel-routes:\n  - {entry}\n"));
            assert!(said.contains(says), "{entry}: {said}");
        }
    }
}
