//! From an address of either version to a number.

use sluice_packet::{Descriptor, Family};

use super::Packet;
use super::lookup::{Change, Direct, Sorted};

/// Numbers by address.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    inet: Inet,
    inet6: Sorted,
}

#[derive(Clone, Debug)]
enum Inet {
    Direct(Direct),
    Sorted(Sorted),
}

impl Addresses {
    /// `inet` and `inet6` are the addresses from which on there is another number, in rising order and
    /// the first of them at 0.
    pub(super) fn new(inet: &[Change<u128>], inet6: &[Change<u128>]) -> Addresses {
        let narrow: Vec<Change<u32>> = inet.iter().map(|c| (c.0 as u32, c.1)).collect();
        let inet = match Direct::new(&narrow) {
            Some(map) => Inet::Direct(map),
            None => Inet::Sorted(Sorted::new(inet, 32)),
        };
        Addresses { inet, inet6: Sorted::new(inet6, 128) }
    }

    /// The number of an address of each packet.
    #[inline]
    pub(super) fn look_up(
        &self,
        packets: &[Packet<'_>],
        numbers: &mut [u32],
        address: impl Fn(&Descriptor) -> u128,
    ) {
        match &self.inet {
            Inet::Direct(map) => self.each(packets, numbers, address, |a| map.get(a as u32)),
            Inet::Sorted(map) => self.each(packets, numbers, address, |a| map.get(a)),
        }
    }

    #[inline(always)]
    fn each(
        &self,
        packets: &[Packet<'_>],
        numbers: &mut [u32],
        address: impl Fn(&Descriptor) -> u128,
        inet: impl Fn(u128) -> u32,
    ) {
        for (packet, number) in packets.iter().zip(numbers) {
            let address = address(packet.descriptor);
            *number = match packet.descriptor.key.family {
                Family::Inet => inet(address),
                Family::Inet6 => self.inet6.get(address),
            };
        }
    }
}
