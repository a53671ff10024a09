use std::net::Ipv4Addr;

use proptest::prelude::*;
use sluice_packet::descriptor::{ip_of, number_of};

use super::*;

/// Few distinct bits, so that random prefixes nest and repeat.
fn address(family: Family) -> impl Strategy<Value = u128> {
    let byte = prop_oneof![Just(0u8), Just(10), Just(0x80), Just(0xff), any::<u8>()];
    proptest::collection::vec(byte, if family == Family::Inet { 4 } else { 16 })
        .prop_map(|bytes| bytes.into_iter().fold(0, |n, byte| n << 8 | u128::from(byte)))
}

fn prefix(family: Family) -> impl Strategy<Value = IpNet> {
    let bits: u8 = if family == Family::Inet { 32 } else { 128 };
    (address(family), 0..=bits)
        .prop_map(move |(n, length)| IpNet::new(ip_of(family, n), length).unwrap().trunc())
}

/// Tables that are small are looked up one by one else.
fn in_bursts<A: Address>(table: &Table<impl Level>, addresses: &[A], leaves: &mut [Leaf]) {
    burst::passes(table, addresses, leaves);
}

fn agrees_with_a_list(family: Family, steps: Vec<(IpNet, Option<Leaf>)>, probes: Vec<u128>) {
    let mut fib = Fib::default();
    let mut list: Vec<(IpNet, Leaf)> = Vec::new();
    let mut generations = Vec::new();
    let changes = steps.clone();
    for (prefix, leaf) in steps {
        let known = list.iter().position(|(p, _)| *p == prefix);
        let old = known.map(|at| list.swap_remove(at).1);
        match leaf {
            Some(leaf) => {
                fib.insert(prefix, leaf);
                list.push((prefix, leaf));
            }
            None => assert_eq!(fib.remove(prefix), old),
        }
        assert_eq!(fib.len(), list.len());
        generations.push((fib.clone(), list.clone()));
    }
    let (early, late) = changes.split_at(changes.len() / 2);
    let mut at_once = Fib::default();
    for half in [early, late] {
        at_once
            .change(half.iter().copied(), |prefix| assert!(half.iter().any(|(p, _)| *p == prefix)));
    }
    assert_eq!(at_once.len(), list.len());
    generations.push((at_once, list));
    // What leads somewhere is found again.
    for (fib, list) in &generations {
        let mut found = fib.prefixes_to(|leaf| leaf % 3 == 1);
        let mut expected: Vec<IpNet> =
            list.iter().filter(|(_, leaf)| leaf % 3 == 1).map(|(prefix, _)| *prefix).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
    // Also the older generations, which share nodes with the later ones.
    for (fib, list) in generations.iter().rev().step_by(7) {
        let ends =
            list.iter().flat_map(|(p, _)| [number_of(p.network()), number_of(p.broadcast())]);
        let probes: Vec<u128> = probes.iter().copied().chain(ends).collect();
        let mut leaves = vec![0; probes.len()];
        match family {
            Family::Inet => {
                let addresses: Vec<u32> = probes.iter().map(|probe| *probe as u32).collect();
                in_bursts(&fib.inet, &addresses, &mut leaves);
            }
            Family::Inet6 => in_bursts(&fib.inet6, &probes, &mut leaves),
        }
        for (probe, leaf) in probes.into_iter().zip(leaves) {
            let ip = ip_of(family, probe);
            let expected =
                list.iter().filter(|(p, _)| p.contains(&ip)).max_by_key(|(p, _)| p.prefix_len());
            assert_eq!(fib.lookup(family, probe), expected.map(|(_, leaf)| *leaf), "{ip}");
            assert_eq!(leaf, expected.map_or(NO_LEAF, |(_, leaf)| *leaf), "{ip} in a burst");
            assert_eq!(
                fib.longest(family, probe),
                expected.map(|(p, leaf)| (p.prefix_len(), *leaf)),
                "{ip}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ipv4_agrees_with_a_list(
        steps in proptest::collection::vec((prefix(Family::Inet), proptest::option::weighted(0.7, 0..50u32)), 0..80),
        probes in proptest::collection::vec(address(Family::Inet), 20),
    ) {
        agrees_with_a_list(Family::Inet, steps, probes);
    }

    #[test]
    fn ipv6_agrees_with_a_list(
        steps in proptest::collection::vec((prefix(Family::Inet6), proptest::option::weighted(0.7, 0..50u32)), 0..60),
        probes in proptest::collection::vec(address(Family::Inet6), 20),
    ) {
        agrees_with_a_list(Family::Inet6, steps, probes);
    }
}

#[test]
fn families_are_apart() {
    let mut fib = Fib::default();
    fib.insert("0.0.0.0/0".parse().unwrap(), 4);
    assert_eq!(fib.lookup(Family::Inet, 1), Some(4));
    assert_eq!(fib.lookup(Family::Inet6, 1), None);
    fib.insert("::/0".parse().unwrap(), 6);
    assert_eq!(fib.lookup(Family::Inet, 1), Some(4));
    assert_eq!(fib.lookup(Family::Inet6, 1), Some(6));
}

#[test]
fn an_emptied_table_is_empty() {
    let mut fib = Fib::default();
    let prefixes = ["10.0.0.0/8", "10.1.2.0/24", "10.1.2.3/32", "2001:db8::/32", "::1/128"];
    for (leaf, prefix) in prefixes.iter().enumerate() {
        fib.insert(prefix.parse().unwrap(), leaf as Leaf);
    }
    for prefix in prefixes {
        assert!(fib.remove(prefix.parse().unwrap()).is_some());
        assert_eq!(fib.remove(prefix.parse().unwrap()), None);
    }
    assert!(fib.is_empty());
}

/// Every prefix that a block has, of as many leaves as there are: the palette does not suffice.
#[test]
fn a_block_of_many_leaves_and_children() {
    let mut random = 1_u32;
    let mut list: Vec<(IpNet, Leaf)> = Vec::new();
    let mut fib = Fib::default();
    let mut check = |list: &[(IpNet, Leaf)], fib: &Fib| {
        let mut addresses = Vec::new();
        for _ in 0..200 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            addresses.push(10 << 24 | random >> 8);
        }
        let mut leaves = vec![0; addresses.len()];
        in_bursts(&fib.inet, &addresses, &mut leaves);
        for (address, leaf) in addresses.into_iter().zip(leaves) {
            let ip = ip_of(Family::Inet, address.into());
            let covering = list.iter().filter(|(prefix, _)| prefix.contains(&ip));
            let expected = covering.max_by_key(|(prefix, _)| prefix.prefix_len());
            assert_eq!(leaf, expected.map_or(NO_LEAF, |(_, leaf)| *leaf), "{ip}");
            let one = fib.lookup(Family::Inet, address.into());
            assert_eq!(one, expected.map(|(_, leaf)| *leaf), "{ip}");
        }
    };
    for n in 0..3_000_u32 {
        let length = [16, 20, 24, 26, 28][n as usize % 5];
        let network = Ipv4Addr::from_bits(10 << 24 | n.wrapping_mul(2_654_435_761) >> 8);
        let prefix = IpNet::new(network.into(), length).unwrap().trunc();
        list.retain(|(known, _)| *known != prefix);
        list.push((prefix, n % 700));
        fib.insert(prefix, n % 700);
        if n % 500 == 499 {
            check(&list, &fib);
        }
    }
    let before = fib.clone();
    for (prefix, leaf) in list.split_off(100) {
        assert_eq!(fib.remove(prefix), Some(leaf));
    }
    check(&list, &fib);
    assert_eq!((fib.len(), before.len() > 2_000), (100, true));
}

/// As many leaves behind one value of the second byte as a palette has, and in all more than it has.
#[test]
fn cells_that_are_all_different() {
    let mut fib = Fib::default();
    let mut leaf_of = |n: u32, leaf| {
        let network = Ipv4Addr::from_bits(10 << 24 | n << 8);
        fib.insert(Ipv4Net::new(network, 24).unwrap().into(), leaf)
    };
    let leaves = [7, Leaf::from(u16::MAX), NO_LEAF - 300];
    for first in leaves {
        for n in 0..256 {
            leaf_of(n, first + n);
            leaf_of(5 << 8 | n, first + n / 2);
        }
    }
    let addresses: Vec<u32> = (0..6 << 8).map(|n| 10 << 24 | n << 8 | 1).collect();
    let mut found = vec![0; addresses.len()];
    in_bursts(&fib.inet, &addresses, &mut found);
    for (n, (leaf, address)) in (0..).zip(found.iter().zip(&addresses)) {
        let expected = match n >> 8 {
            0 => leaves[2] + n,
            5 => leaves[2] + (n & 255) / 2,
            _ => NO_LEAF,
        };
        assert_eq!((*leaf, fib.leaf_inet(*address)), (expected, expected), "{n}");
    }
}

#[test]
fn small_and_large_tables_say_the_same() {
    let mut fib = Fib::default();
    let addresses: Vec<u32> = (0..100).map(|n| 10 << 24 | n << 14 | 9).collect();
    let addresses6: Vec<u128> = (0..100).map(|n| 0xfd << 120 | n << 84 | 9).collect();
    for n in 0..2 * MANY as u32 {
        let network = Ipv4Addr::from_bits(10 << 24 | n << 8);
        fib.insert(Ipv4Net::new(network, 24).unwrap().into(), n % 700);
        let network = (0xfd_u128 << 120 | u128::from(n) << 80).into();
        fib.insert(Ipv6Net::new(network, 48).unwrap().into(), n % 700);
        if !n.is_multiple_of(MANY as u32 / 2) {
            continue;
        }
        let mut leaves = vec![0; 100];
        fib.lookup_inet(&addresses, &mut leaves);
        let one_by_one = addresses.iter().map(|address| fib.leaf_inet(*address));
        assert!(one_by_one.eq(leaves.iter().copied()));
        fib.lookup_inet6(&addresses6, &mut leaves);
        for (leaf, address) in leaves.into_iter().zip(&addresses6) {
            assert_eq!((leaf != NO_LEAF).then_some(leaf), fib.lookup(Family::Inet6, *address));
        }
    }
}
