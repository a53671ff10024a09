use super::*;

fn descriptor(protocol: u8, src: u128, dst: u128, src_port: u16, dst_port: u16) -> Descriptor {
    let key = FlowKey { src, dst, src_port, dst_port, protocol, family: Family::Inet };
    Descriptor { key, ..Descriptor::default() }
}

#[test]
fn the_reply_has_ports_and_addresses_the_other_way_round() {
    let key = Key::of(&descriptor(protocol::TCP, 1, 2, 1000, 80), 7).expect("a key");
    let reply = Key::of(&descriptor(protocol::TCP, 2, 1, 80, 1000), 7).expect("a key");
    assert_eq!(key.reply(), reply);
    assert_eq!(reply.reply(), key);
    assert_eq!((key.instance(), key.protocol()), (7, protocol::TCP));
    assert_ne!(key, Key::of(&descriptor(protocol::TCP, 1, 2, 1000, 80), 8).expect("a key"));
}

#[test]
fn a_query_and_its_answer_have_two_keys() {
    let echo = |src, dst, icmp_type| {
        let d = descriptor(protocol::ICMP, src, dst, 77, 0);
        Key::of(&Descriptor { icmp_type, ..d }, 0)
    };
    let asks = echo(1, 2, icmp::ECHO_REQUEST).expect("a key");
    let answers = echo(2, 1, icmp::ECHO_REPLY).expect("a key");
    assert_eq!(asks.reply(), answers);
    assert_eq!(answers.reply(), asks);
    assert_ne!(asks, echo(1, 2, icmp::ECHO_REPLY).expect("a key"));
    assert_eq!(echo(1, 2, icmp::UNREACHABLE), None, "errors have no connection");
    for icmp_type in 0..=255 {
        if let Some(key) = echo(1, 2, icmp_type) {
            assert_eq!(key.reply().reply(), key, "{icmp_type}");
        }
    }
}

#[test]
fn later_fragments_have_a_key_once_their_first_is_known() {
    let mut d = descriptor(protocol::UDP, 1, 2, 0, 0);
    d.fragment = Fragment::Later;
    assert_eq!(Key::of(&d, 0), None);
    d.flags |= DescriptorFlags::FIRST_KNOWN;
    assert!(Key::of(&d, 0).is_some());
    assert!(Key::of(&descriptor(47, 1, 2, 0, 0), 0).is_some(), "protocols without ports have one");
}

#[test]
fn the_hash_depends_on_the_seed_and_on_every_field() {
    let key = Key::of(&descriptor(protocol::TCP, 1, 2, 1000, 80), 7).expect("a key");
    let hasher = Hasher::new([1, 2]);
    assert_eq!(hasher.hash(&key), Hasher::new([1, 2]).hash(&key));
    for seed in [[1, 3], [2, 2], [2, 1], [0, 0]] {
        assert_ne!(hasher.hash(&key), Hasher::new(seed).hash(&key), "{seed:?}");
    }
    for bit in 0..320 {
        let mut other = key;
        match bit / 64 {
            word @ 0..2 => other.src[word] ^= 1 << (bit % 64),
            word @ 2..4 => other.dst[word - 2] ^= 1 << (bit % 64),
            _ => other.tail ^= 1 << (bit % 64),
        }
        // The upper words of an IPv4 key are always 0, and the hash leaves them out.
        let unused = bit / 64 == 1 || bit / 64 == 3 || (bit / 64 < 4 && bit % 64 >= 32);
        let same = hasher.hash(&other) == hasher.hash(&key);
        assert!(unused || !same, "bit {bit}");
    }
}

#[test]
fn counted_addresses_and_ports_spread_evenly() {
    // Keys that differ in few bits: chi-squared over 4,096 places for both halves of the hash.
    const PLACES: usize = 4096;
    const KEYS: usize = PLACES * 64;
    let hasher = Hasher::new([0x1234, 0x5678]);
    let mut low = vec![0_u32; PLACES];
    let mut high = vec![0_u32; PLACES];
    for i in 0..KEYS {
        let d = descriptor(protocol::UDP, 0x0a00_0000 + (i / 512) as u128, 2, (i % 512) as u16, 53);
        let hash = hasher.hash(&Key::of(&d, 0).expect("a key"));
        low[(hash as u32 >> 20) as usize] += 1;
        high[(hash >> 52) as usize] += 1;
    }
    for counts in [low, high] {
        let chi: f64 = counts.iter().map(|&n| (f64::from(n) - 64.0).powi(2) / 64.0).sum();
        // The mean is 4,095 and the deviation 90.
        assert!((3500.0..4700.0).contains(&chi), "chi-squared {chi}");
    }
}
