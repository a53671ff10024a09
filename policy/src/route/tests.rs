//! What may not be routed, in which order, and how flows spread.

use std::collections::HashMap;

use sluice_packet::Mask;

use super::*;
use crate::evaluate::NoRecorder;
use crate::policy::Policy;
use crate::policy::tests::{packet, policy};

const ECMP: &str = "
ports:
  lan: { device: net_tap0, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  wan: { device: net_tap1, addresses: [10.0.2.1/24, 'fd00:2::1/64'] }
routes:
  - { to: 0.0.0.0/0, via: [10.0.2.2, 10.0.2.3] }
  - { to: '::/0', via: ['fd00:2::2', 'fd00:2::3'] }
  - { to: 10.9.0.0/16, via: [{ address: 10.0.2.2, weight: 1 }, { address: 10.0.2.3, weight: 3 }] }
  - { to: 10.8.0.0/16, via: [{ address: 10.0.2.2, weight: 2 }, { address: 10.0.2.3, weight: 2 }, { address: 10.0.1.3, weight: 2 }] }
";

fn decide(policy: &Policy, d: &Descriptor) -> RouteDecision {
    policy.instance_named("default").unwrap().route(d, &mut NoRecorder)
}

/// Share of flows that each next hop gets, by its address's last byte and the interface.
fn shares(policy: &Policy, flows: impl Iterator<Item = Descriptor>) -> HashMap<(u16, u8), f64> {
    let mut counts: HashMap<(u16, u8), f64> = HashMap::new();
    let flows: Vec<_> = flows.collect();
    for d in &flows {
        let RouteDecision::Forward(id) = decide(policy, d) else { panic!("{d:?}") };
        let hop = policy.next_hop(id);
        *counts.entry((hop.interface.0, hop.via.unwrap() as u8)).or_default() += 1.0;
    }
    counts.values_mut().for_each(|count| *count /= flows.len() as f64);
    counts
}

/// Flows as tests and networks make them: one of the fields counts up, the rest stands.
fn flows(dst: &str, count: u32) -> [Vec<Descriptor>; 4] {
    let src = if dst.contains(':') { "fd00:1::5" } else { "10.0.1.5" };
    let base = |protocol| {
        let mut d = packet(src, dst);
        (d.key.protocol, d.key.src_port, d.key.dst_port) = (protocol, 40_000, 80);
        d
    };
    let made = |change: &dyn Fn(&mut Descriptor, u32)| {
        (0..count)
            .map(|i| {
                let mut d = base(17);
                change(&mut d, i);
                d
            })
            .collect::<Vec<_>>()
    };
    [
        made(&|d, i| d.key.src_port += i as u16),
        made(&|d, i| d.key.dst_port += i as u16),
        made(&|d, i| d.key.src += u128::from(i)),
        made(&|d, i| d.key.dst += u128::from(i)),
    ]
}

#[test]
fn two_next_hops_share_256_flows() {
    let policy = policy(ECMP);
    for dst in ["192.0.2.0", "2001:db8::"] {
        for flows in flows(dst, 256) {
            let shares = shares(&policy, flows.into_iter());
            assert_eq!(shares.len(), 2);
            assert!(shares.values().all(|share| (0.25..=0.75).contains(share)), "{dst} {shares:?}");
        }
    }
}

#[test]
fn weights_are_kept() {
    let policy = policy(ECMP);
    let near = |share: f64, wanted: f64| (share / wanted - 1.0).abs() < 0.15;
    for flows in flows("10.9.0.0", 20_000) {
        let shares = shares(&policy, flows.into_iter());
        let wan = policy.interface_named("wan").unwrap().id.0;
        assert!(near(shares[&(wan, 2)], 0.25) && near(shares[&(wan, 3)], 0.75), "{shares:?}");
    }
    for flows in flows("10.8.0.0", 20_000) {
        let shares = shares(&policy, flows.into_iter());
        assert!(
            shares.len() == 3 && shares.values().all(|share| near(*share, 1.0 / 3.0)),
            "{shares:?}"
        );
    }
}

#[test]
fn a_flow_and_its_fragments_have_one_way() {
    let policy = policy(ECMP);
    for mut d in flows("192.0.2.0", 64).into_iter().flatten() {
        let whole = decide(&policy, &d);
        d.hop_limit = 3;
        d.l3_length = 1400;
        d.tcp_flags = 0x10;
        assert_eq!(decide(&policy, &d), whole);
        d.fragment = Fragment::First;
        let first = decide(&policy, &d);
        (d.fragment, d.key.src_port, d.key.dst_port) = (Fragment::Later, 0, 0);
        assert_eq!(decide(&policy, &d), first);
    }
}

#[test]
fn what_may_not_be_routed_is_named() {
    let policy = policy(ECMP);
    let reason = |src: &str, dst: &str, flags: DescriptorFlags| {
        let mut d = packet(src, dst);
        d.flags = flags;
        match decide(&policy, &d) {
            RouteDecision::Drop(reason) => reason.name(),
            _ => "routed",
        }
    };
    let (none, v4) = (DescriptorFlags::empty(), "192.0.2.1");
    for flags in [DescriptorFlags::LINK_BROADCAST, DescriptorFlags::LINK_MULTICAST] {
        assert_eq!(reason(v4, "8.8.8.8", flags), "link-broadcast");
        assert_eq!(reason("fd00::9", "2001:db8::1", flags), "link-broadcast");
        assert_eq!(reason(v4, "10.0.1.255", flags), "link-broadcast");
        assert_eq!(reason(v4, "224.0.0.5", flags), "multicast-unrouted");
        assert_eq!(reason(v4, "255.255.255.255", flags), "destination-martian");
        assert_eq!(reason("fd00::9", "ff02::1", flags), "multicast-unrouted");
    }
    for dst in
        ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "240.0.0.1", "255.255.255.255"]
    {
        assert_eq!(reason(v4, dst, none), "destination-martian", "{dst}");
    }
    for dst in ["::", "::1"] {
        assert_eq!(reason("fd00::9", dst, none), "destination-martian", "{dst}");
    }
    for dst in ["224.0.0.1", "239.255.255.255"] {
        assert_eq!(reason(v4, dst, none), "multicast-unrouted", "{dst}");
    }
    assert_eq!(reason("fd00::9", "ff0e::1", none), "multicast-unrouted");
    for (src, dst) in
        [("fe80::1", "2001:db8::1"), ("2001:db8::1", "fe80::1"), ("febf:ffff::1", "2001:db8::1")]
    {
        assert_eq!(reason(src, dst, none), "link-local");
    }
    assert_eq!(reason("fec0::1", "2001:db8::1", none), "routed");
    assert_eq!(reason("2001:db8::1", "fe80::1", DescriptorFlags::LOCAL_ORIGIN), "link-local");
    assert_eq!(reason(v4, "10.0.2.255", none), "directed-broadcast");
    assert_eq!(reason(v4, "1.0.0.0", none), "routed");
    assert_eq!(reason(v4, "223.255.255.255", none), "routed");
}

#[test]
fn a_burst_is_its_packets() {
    let small = policy(ECMP);
    let many = (0..5_000).map(|n| format!("  - {{ to: 'fd01:{n:x}::/32', via: 'fd00:2::2' }}\n"));
    let large = policy(&(ECMP.to_owned() + &many.collect::<String>()));
    let mut inet = [Descriptor::default(); 64];
    for (i, d) in inet.iter_mut().enumerate() {
        *d = packet("10.0.1.5", &format!("{}.0.1.{i}", [10, 192, 127, 224][i % 4]));
        d.key.src_port = i as u16;
    }
    let mut mixed = inet;
    for (i, d) in mixed.iter_mut().enumerate().filter(|(i, _)| i % 5 != 1) {
        let networks =
            ["fd00:1::", "fd01:7::", "fd01:1387::", "2001:db8::", "ff02::", "fe80::", "::"];
        *d = packet("fd00:1::5", &format!("{}{i:x}", networks[i % 7]));
        d.key.src_port = i as u16;
    }
    for (policy, burst) in [(&small, inet), (&small, mixed), (&large, inet), (&large, mixed)] {
        is_its_packets(policy, burst);
    }
}

fn is_its_packets(policy: &Policy, mut burst: [Descriptor; 64]) {
    let instance = policy.instance_named("default").unwrap();
    let mut out = [None; 64];
    let mask = Mask(0xf0f0_1234_5678_9abc);
    let is_plain = |d: &Descriptor| {
        d.key.family == Family::Inet && matches!((d.key.dst >> 24) as u8, 10 | 192)
    };
    let plain = (0..64).filter(|&i| is_plain(&burst[i]));
    let plain = plain.fold(Mask::EMPTY, |mask, i| mask | Mask::only(i));
    instance.route_burst(
        &mut burst,
        mask,
        plain,
        &mut NoRecorder,
        |d, i| &d[i],
        |_, i, decision| {
            assert_eq!(out[i].replace(decision), None, "decided once");
        },
    );
    for (i, (d, out)) in burst.iter().zip(out).enumerate() {
        let alone = instance.route(d, &mut NoRecorder);
        assert_eq!(out, mask.contains(i).then_some(alone), "{i}");
    }
}
