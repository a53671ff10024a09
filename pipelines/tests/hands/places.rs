//! LOOPBACK_OUT, LOOPBACK_IN and OBSERVING (F8, F10, A6).

use sluice_hooks::{Direction, Made, Observer};
use sluice_policy::DropReason;
use sluice_policy::model::{Owner, Route, RouteKey, Target};

use super::*;

/// `p0` is of the default instance, `p1` and `p2` of `up`; a route leads from one to the other.
fn two_instances() -> State {
    let mut state = three_ports();
    let default = state.instances["default"].clone();
    state.instances.insert("up".into(), default);
    for port in ["p1", "p2"] {
        state.interfaces.get_mut(port).unwrap().instance = "up".into();
    }
    for (prefix, instance, table) in
        [("10.0.1.0/24", "default", "up"), ("10.0.0.0/24", "up", "default")]
    {
        let target = Target::Table { instance: table.into(), table: "main".into() };
        let key = RouteKey::main(instance, prefix.parse().unwrap(), Owner::Static);
        state.routes.insert(key, Route::new(target, &Owner::Static, router::position()));
    }
    state
}

fn everywhere(log: &Log) -> Vec<Registration> {
    use Event::{Forwarding, LoopbackIn, LoopbackOut, PhysicalIn, PhysicalOut, RouteDecision};
    [PhysicalIn, RouteDecision, LoopbackOut, LoopbackIn, Forwarding, PhysicalOut]
        .map(|event| {
            let log = log.clone();
            hook(event.name(), event, Hint::None, move |cx, packet| {
                let said =
                    |interface: Option<sluice_hooks::InterfaceId>| interface.map_or(0, |id| id.0);
                let (input, output) = (said(packet.ingress()), said(packet.egress()));
                log.note(format!("{} {} {input} {output}", event.name(), cx.instance.name));
                Verdict::Continue
            })
        })
        .into()
}

#[test]
fn f8_between_instances_a_packet_passes_loopback_out_of_one_and_in_of_the_other() {
    let log = Log::default();
    let mut router = ready(&two_instances(), everywhere(&log));
    assert_eq!(router.forward(0, &across(b"x")).unwrap().0, 1);
    assert_eq!(
        log.take(),
        [
            "PHYSICAL_IN default 1 0",
            "ROUTE_DECISION default 1 0",
            "LOOPBACK_OUT default 0 2",
            "LOOPBACK_IN up 1 0",
            "FORWARDING default 1 2",
            "PHYSICAL_OUT default 0 2",
        ]
    );
    // Within an instance, nothing of the kind.
    let mut within = udp4([10, 0, 1, 2], [10, 0, 2, 2], b"x");
    within[..6].copy_from_slice(&mac(1));
    assert_eq!(router.forward(1, &within).unwrap().0, 2);
    assert!(log.take().iter().all(|line| !line.contains("LOOPBACK")));
    router.assert_balanced();
}

#[test]
fn f8_a_hook_at_either_side_can_stop_it() {
    for (event, instance) in [(Event::LoopbackOut, "default"), (Event::LoopbackIn, "up")] {
        let mut stops =
            hook("stops", event, Hint::None, |_, _| Verdict::Drop(DropReason::HookDropped));
        stops.hook.instance = Some(instance.into());
        let log = Log::default();
        let mut router =
            ready(&two_instances(), vec![stops, witness("next", Event::Forwarding, &log)]);
        assert_eq!(router.forward(0, &across(b"x")), None);
        assert_eq!(router.dropped(DropReason::HookDropped), 1);
        assert_eq!(log.take(), Vec::<String>::new());
        router.assert_balanced();
    }
}

/// Notes what it is shown; drops, if it is to.
struct Tap(Log, bool);

impl Observer for Tap {
    fn observe(&mut self, cx: &Context<'_>, packet: &Packet<'_>) {
        let seen = packet.observed(cx).expect("at OBSERVING");
        let number = |instance: Option<sluice_policy::InstanceId>| {
            instance.map_or("-".into(), |id| id.0.to_string())
        };
        let way = match seen.direction {
            Direction::Inbound => "in",
            Direction::Outbound => "out",
            Direction::Local => "local",
            Direction::Dropped => seen.dropped.expect("a reason").name(),
        };
        let (from, to) = (number(seen.from), number(seen.to));
        let interface = seen.interface.map_or(0, |id| id.0);
        let (length, ttl) = (seen.length, packet.bytes()[8]);
        self.0.note(format!("{way} {interface} {from}>{to} {length} {ttl}"));
    }

    fn sees_drops(&self) -> bool {
        self.1
    }
}

fn tap(log: &Log) -> Registration {
    tap_of(log, false)
}

fn tap_of(log: &Log, drops: bool) -> Registration {
    let log = log.clone();
    let made = Made::observer(move || Tap(log.clone(), drops));
    placed("tap", Event::Observing, Hint::None, made.factory)
}

#[test]
fn f10_a6_an_observer_is_shown_each_packet_once_in_and_once_out() {
    let log = Log::default();
    let mut router = ready(&three_ports(), vec![tap(&log)]);
    router.forward(0, &across(b"1234")).unwrap();
    assert_eq!(log.take(), ["in 1 ->0 32 64", "out 2 ->- 32 63"]);
    // What the router itself makes is seen as it leaves.
    let nowhere = udp4([10, 0, 0, 2], [198, 51, 100, 1], b"1234");
    router.forward(0, &nowhere).expect("unreachable");
    assert_eq!(log.take(), ["in 1 ->0 32 64", "out 1 0>- 60 64"]);
    router.assert_balanced();
}

#[test]
fn f10_an_observer_that_asks_is_shown_drops_with_their_reasons() {
    for asks in [false, true] {
        let log = Log::default();
        let refuses = hook("refuses", Event::Forwarding, Hint::None, |_, packet| {
            match packet.bytes().get(28) {
                Some(b'n') => Verdict::Drop(DropReason::HookDropped),
                _ => Verdict::Continue,
            }
        });
        let mut router = ready(&three_ports(), vec![tap_of(&log, asks), refuses]);
        let drops = |log: &Log| -> Vec<String> {
            let drop = |line: &String| !["in", "out"].iter().any(|way| line.starts_with(way));
            log.take().into_iter().filter(drop).collect()
        };
        let expected = |lines: &[&str]| match asks {
            true => lines.iter().map(ToString::to_string).collect::<Vec<_>>(),
            false => Vec::new(),
        };
        router.receive(0, &[across(b"no"), across(b"yes")]);
        assert_eq!(drops(&log), expected(&["hook 1 ->- 30 64"]));
        router.receive(0, &[udp4([10, 0, 0, 2], [198, 51, 100, 1], b"x")]);
        assert_eq!(drops(&log), expected(&["no-route 1 ->- 29 64"]));
        // What is given up later, too.
        router.receive(0, &[udp4([10, 0, 0, 2], [10, 0, 1, 77], b"x")]);
        for _ in 0..8 {
            router.pass_time(1000);
        }
        assert_eq!(drops(&log), expected(&["neighbour-unresolved 1 ->- 29 63"]));
        router.assert_balanced();
    }
}

#[test]
fn f10_between_instances_it_is_local_and_says_from_where_to_where() {
    let log = Log::default();
    let mut tap = tap(&log);
    tap.hook.instance = Some("default".into());
    let mut router = ready(&two_instances(), vec![tap]);
    router.forward(0, &across(b"1234")).unwrap();
    assert_eq!(log.take(), ["in 1 ->0 32 64", "local 0 0>1 32 64", "out 2 ->- 32 63"]);
    router.assert_balanced();
}

#[test]
fn e20_a_hook_counts_the_packets_of_each_instance_by_themselves() {
    let drops = hook("drops", Event::PhysicalIn, Hint::None, |cx, _| match &*cx.instance.name {
        "up" => Verdict::Drop(DropReason::HookDropped),
        _ => Verdict::Continue,
    });
    let mut router = ready(&two_instances(), vec![drops]);
    let mut within = udp4([10, 0, 1, 2], [10, 0, 2, 2], b"x");
    within[..6].copy_from_slice(&mac(1));
    for _ in 0..3 {
        router.forward(0, &across(b"x")).unwrap();
        assert_eq!(router.receive(1, &[within.clone(), within.clone()]).len(), 0);
    }
    let policy = &router.generation.policy;
    let block = router.statistics.worker(0);
    let counted = |name| {
        let row = &block.hook_by_instance(0)[policy.instance_named(name).unwrap().id.index()];
        (row.packets.get(), row.dropped.get())
    };
    assert_eq!((counted("default"), counted("up")), ((3, 0), (6, 6)));
    assert_eq!((block.hook(0).packets.get(), block.hook(0).dropped.get()), (9, 6));
    router.unload(0);
    let counters = router.statistics.worker(0).hook_by_instance(0);
    assert!(counters.iter().all(|row| row.packets.get() == 0), "they go with the hook");
}
