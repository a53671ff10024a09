//! R4: under a full table, flows leave a link that is down at once, and the rest costs what it moves.
//!
//! `SLUICE_ROUTES=1000000 cargo test --release -p sluice-policy --test r04 -- --nocapture` prints what it
//! takes with a million routes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use sluice_packet::{Descriptor, Family, FlowKey};
use sluice_policy::model::{
    Delta, NextHop, Operation, Owner, Position, Route, RouteKey, State, Target,
};
use sluice_policy::{NoRecorder, Policy, RouteDecision, config};

const PORTS: &str = "
ports:
  a: { device: net_null0, addresses: 10.1.0.1/24 }
  b: { device: net_null1, addresses: 10.2.0.1/24 }
  c: { device: net_null2, addresses: 10.3.0.1/24 }
routes: [ { to: 0.0.0.0/0, via: 10.1.0.9 } ]
";
/// Of a hundred routes one leads by both `a` and `b`, one by `b` alone, and the others by `c`.
const SHARE: u32 = 100;

fn network(n: u32) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::from_bits((16 << 24) + n * 256), 24).into()
}

fn full_table(routes: u32) -> Policy {
    let file = config::read(PORTS.as_bytes(), "r04.yaml").unwrap();
    let ports = Policy::empty().apply(&State::default().difference(&file.state)).unwrap();
    let hop = |via: [u8; 4]| NextHop { via: Some(via.into()), interface: None, weight: 1 };
    let (a, b, c) = (hop([10, 1, 0, 2]), hop([10, 2, 0, 2]), hop([10, 3, 0, 2]));
    let lists: [Arc<[NextHop]>; 3] = [[a, b.clone()].into(), [b].into(), [c].into()];
    let operations = (0..routes).map(|n| {
        let (instance, table) = ("default".into(), "main".into());
        let key = RouteKey { instance, table, prefix: network(n), owner: Owner::Bgp };
        let target = Target::NextHops(lists[(n % SHARE).min(2) as usize].clone());
        let position = Position { file: "r04".into(), line: 0, column: 0 };
        Operation::Route(key, Some(Route::new(target, &Owner::Bgp, position)))
    });
    ports.apply(&Delta { operations: operations.collect() }).unwrap()
}

/// The port that a packet to a network leaves by.
fn port(policy: &Policy, n: u32, flow: u16) -> &str {
    let IpNet::V4(net) = network(n) else { unreachable!() };
    let key = FlowKey {
        src: Ipv4Addr::new(192, 0, 2, 1).to_bits().into(),
        dst: (net.network().to_bits() | 1).into(),
        src_port: flow,
        dst_port: 80,
        protocol: 17,
        family: Family::Inet,
    };
    let d = Descriptor { key, hop_limit: 64, ..Descriptor::default() };
    let instance = policy.instance_named("default").unwrap();
    match instance.route(&d, &mut NoRecorder) {
        RouteDecision::Forward(hop) => {
            &policy.interface(policy.next_hop(hop).interface).unwrap().name
        }
        other => panic!("{other:?}"),
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

#[test]
fn r04_flows_leave_a_link_that_is_down_at_once() {
    let routes = std::env::var("SLUICE_ROUTES").map_or(50_000, |n| n.parse().unwrap());
    let up = full_table(routes);
    let flows = 0..64;
    assert!(flows.clone().any(|flow| port(&up, 0, flow) == "b"), "both are used");
    assert_eq!((port(&up, 1, 0), port(&up, 2, 0)), ("b", "c"));

    let b = up.port_named("b").unwrap().id;
    let (spared, step) = timed(|| up.sparing([b]).unwrap());
    assert!(flows.clone().all(|flow| port(&spared, 0, flow) == "a"));
    let (down, rest) = timed(|| up.with_down([b]));
    let last = routes - SHARE;
    for n in [0, last] {
        assert!(flows.clone().all(|flow| port(&down, n, flow) == "a"));
        assert_eq!((port(&down, n + 1, 0), port(&down, n + 2, 0)), ("a", "c"));
    }
    let (back, again) = timed(|| down.with_down([]));
    assert_eq!(port(&back, last + 1, 0), "b");
    println!("{routes} routes: {step:?} until flows have left, {rest:?} for all, {again:?} back");
    assert!(step < Duration::from_millis(50), "{step:?}");
}
