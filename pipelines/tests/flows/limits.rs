//! What rules limit of the connections that they accept.

use etherparse::PacketBuilder;
use sluice_policy::DropReason;

use crate::router;
use crate::router::{Router, mac, station};

/// From `p0` what a limit allows, and answers.
fn limited(limit: &str) -> Router {
    let rules = format!(
        "
filters:
  forward:
    stateful: true
    default: drop
    rules:
      - {{ name: some, in: p0, destination-port: 53, protocol: udp, action: accept, limit: {{ {limit} }} }}
      - {{ name: others, in: p0, action: accept }}
"
    );
    router(&rules, vec![])
}

/// A datagram from a host behind `p0` to a service that is limited, or the answer to it.
fn udp(host: u8, port: u16, answer: bool) -> Vec<u8> {
    datagram(host, port, 53, answer)
}

fn datagram(host: u8, port: u16, service: u16, answer: bool) -> Vec<u8> {
    let (client, server) = (([10, 0, 0, host], port), ([10, 0, 1, 2], service));
    let (from, to) = if answer { (server, client) } else { (client, server) };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(station(answer.into()), mac(answer.into()))
        .ipv4(from.0, to.0, 64)
        .udp(from.1, to.1)
        .write(&mut frame, b"data")
        .unwrap();
    frame
}

/// How many of some datagrams are forwarded, all others being over the limit.
#[track_caller]
fn forwarded(router: &mut Router, frames: &[Vec<u8>]) -> usize {
    let before = router.dropped(DropReason::RuleLimit);
    let out = router.receive(0, frames).remove(&1).map_or(0, |out| out.len());
    let dropped = router.dropped(DropReason::RuleLimit) - before;
    assert_eq!(out as u64 + dropped, frames.len() as u64);
    router.assert_balanced();
    out
}

#[test]
fn a_source_has_as_many_connections_as_it_may() {
    let mut router = limited("flows-per-source: 3");
    let of = |host: u8| (4000..4010).map(|port| udp(host, port, false)).collect::<Vec<_>>();
    assert_eq!(forwarded(&mut router, &of(2)), 3);
    assert_eq!(forwarded(&mut router, &of(2)), 3, "those that are there go on, no other begins");
    assert_eq!(forwarded(&mut router, &of(3)), 3, "another source has its own");
    assert!(router.forward(1, &udp(2, 4001, true)).is_some(), "answers pass");
    assert!(router.forward(1, &udp(2, 4009, true)).is_none(), "but to those that began");
}

#[test]
fn connections_begin_at_a_rate_and_packets_do_not_count() {
    let mut router = limited("new-flows: 2/h, burst: 2");
    // Many packets of one connection in one burst are one connection.
    let many: Vec<_> = (0..20).map(|_| udp(2, 4000, false)).collect();
    assert_eq!(forwarded(&mut router, &many), 20);
    let of = |ports: std::ops::Range<u16>| ports.map(|p| udp(2, p, false)).collect::<Vec<_>>();
    assert_eq!(forwarded(&mut router, &of(4001..4010)), 1);
    assert_eq!(forwarded(&mut router, &of(4000..4010)), 2);
    // Other rules are not limited.
    assert!(router.forward(0, &datagram(2, 4000, 54, false)).is_some());
}
