//! Small dense numbers for named things, so that a worker indexes arrays instead of hashing names.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[repr(transparent)]
        pub struct $name(pub u16);

        impl $name {
            /// The number as an array index.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A port of the appliance: one DPDK device. Stable for as long as the port is configured.
    PortId
}
id! {
    /// A layer-3 interface: a port, or a VLAN on one. Stable for as long as it is configured.
    /// Numbers start at 1: 0 in a descriptor's `ingress` means that the packet came in by none.
    InterfaceId
}
id! {
    /// A network stack of its own (a VRF, a tenant): its interfaces, tables, filters and hooks.
    InstanceId
}
id! {
    /// A table of routes; the tables of all instances are numbered together. Stable for as long as
    /// it is declared.
    TableId
}
id! {
    /// Place of a rule's counters in the statistics segment. A rule keeps its slot across
    /// commits for as long as a rule of its name stands in the same filter. Slot 0 is no rule's.
    RuleSlot
}

/// Place of a [`crate::ResolvedNextHop`] in the policy that handed it out. It means the same in the
/// generations that follow, until one [moves everything](crate::Moved::EVERYTHING): there it may be
/// another's.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[repr(transparent)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// The number as an array index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
