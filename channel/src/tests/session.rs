//! What goes well, and what is refused in good order.

use sluice_policy::model::Operation;
use sluice_policy::{Names, Packed, PortId, RuleSlot};

use super::*;
use crate::greeting::Release;
use crate::statistics::AgentCounters;
use crate::{Busy, ChannelError, Detachment, Notice, Refusal};

#[test]
fn ends_and_counters_go_to_other_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Sync>() {}
    sent::<Server>();
    sent::<Client>();
    sent::<crate::Statistics>();
    shared::<crate::Statistics>();
}

#[test]
fn a_command_is_answered() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    assert!(server.attached() && !client.lost());
    let reply = answering(
        &mut server,
        |command| {
            assert_eq!(command, Command::Begin { expected: 7, generation: 8 });
            Reply::Conflict { generation: 8 }
        },
        || client.call(&Command::Begin { expected: 7, generation: 8 }, PATIENCE),
    );
    assert_eq!(reply.unwrap(), Reply::Conflict { generation: 8 });
}

#[test]
fn a_large_state_passes_both_ways() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let large = state(50_000);
    let operation =
        |(key, route): (&RouteKey, &Route)| Operation::Route(key.clone(), Some(route.clone()));
    let operations: Vec<Operation> = large.routes.iter().map(operation).collect();
    let mut parts = Packed::parts(&operations, usize::MAX, usize::MAX);
    let apply = Command::Apply(parts.next().unwrap());
    assert!(parts.next().is_none());
    let size = postcard::to_stdvec(&apply).unwrap().len();
    assert!(size > 2 << 20, "more than the ring holds: {size}");

    let mut held = State::default();
    answering(
        &mut server,
        |command| match command {
            Command::Apply(packed) => {
                for operation in packed.unpack(&mut Names::default()) {
                    let Operation::Route(key, Some(route)) = operation else { panic!() };
                    held.routes.insert(key, route);
                }
                Reply::Done
            }
            Command::State { .. } => Reply::State(held.clone()),
            other => panic!("{other:?}"),
        },
        || {
            assert_eq!(client.call(&apply, PATIENCE).unwrap(), Reply::Done);
            let reply = client.call(&Command::State { tables: Vec::new() }, PATIENCE).unwrap();
            assert!(reply == Reply::State(large), "not what was sent");
        },
    );
}

#[test]
fn notices_arrive_in_order_beside_replies() {
    let (dir, mut server) = bind();
    let link = |n: u32| Notice::Link { port: n.to_string().into(), up: n.is_multiple_of(2) };
    server.event(&link(99)); // nobody there
    let mut client = attach(&dir, &mut server);
    for n in 0..5 {
        server.event(&link(n));
    }
    let reply = answering(&mut server, |_| Reply::Done, || client.call(&Command::Status, PATIENCE));
    assert_eq!(reply.unwrap(), Reply::Done);
    server.event(&link(5));
    assert_eq!(client.notices(), (0..6).map(link).collect::<Vec<_>>());
    assert_eq!(client.notices(), []);
    assert_eq!(server.statistics().agent().notices_lost.get(), 0);
}

#[test]
fn a_client_that_takes_nothing_loses_notices_and_holds_up_nobody() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let notice = |n: u32| Notice::Link { port: format!("{n:>16384}").into(), up: true };
    for n in 0..200 {
        server.event(&notice(n));
    }
    let lost = server.statistics().agent().notices_lost.get() as usize;
    assert!((1..200).contains(&lost), "{lost}");
    let mut heard = Vec::new();
    while heard.len() < 200 - lost {
        heard.extend(client.notices());
        assert!(server.service().is_none());
    }
    let kept: Vec<_> = (0..200 - lost as u32).map(notice).collect();
    assert!(heard == kept, "the first are kept");
}

#[test]
fn counters_are_seen_without_a_call() {
    let (dir, mut server) = bind();
    let client = attach(&dir, &mut server);
    let ours = server.statistics();
    let theirs = client.statistics();
    assert_eq!(theirs.limits(), LIMITS);
    ours.worker(1).core().rx.add(5);
    ours.worker(1).rule(RuleSlot(63)).bytes.add(6);
    ours.port_gauges(PortId(3)).link.set(1);
    assert_eq!(theirs.worker(1).core().rx.get(), 5);
    assert_eq!(theirs.rule(RuleSlot(63)), (0, 6));
    assert_eq!(theirs.port_gauges(PortId(3)).link.get(), 1);
    let sessions = |agent: &AgentCounters| agent.sessions.get();
    assert_eq!(sessions(theirs.agent()), 1);

    drop((server, client, ours));
    assert_eq!(theirs.worker(1).core().rx.get(), 5, "the memory outlives both ends");
}

#[test]
fn sessions_follow_one_another() {
    let (dir, mut server) = bind();
    for epoch in 1..4 {
        let mut client = attach(&dir, &mut server);
        assert_eq!(server.epoch(), epoch);
        let reply =
            answering(&mut server, |_| Reply::Done, || client.call(&Command::Commit, PATIENCE));
        assert_eq!(reply.unwrap(), Reply::Done);
        drop(client);
        let detached = next(&mut server);
        assert!(matches!(detached, Incoming::Detached { reason: Detachment::HungUp }));
        assert!(!server.attached());
    }
    assert_eq!(server.statistics().agent().sessions.get(), 3);
    assert_eq!(server.statistics().agent().sessions_malformed.get(), 0);
}

#[test]
fn a_reply_to_a_session_that_is_over_goes_nowhere() {
    let (dir, mut server) = bind();
    let mut first = attach(&dir, &mut server);
    assert!(matches!(first.call(&Command::Commit, MOMENT), Err(ChannelError::Deadline { .. })));
    let (old, Command::Commit) = command(&mut server) else { panic!() };
    drop(first);
    assert!(matches!(next(&mut server), Incoming::Detached { .. }));
    server.reply(old, &Reply::Done).unwrap();

    let mut second = attach(&dir, &mut server);
    server.reply(old, &Reply::Done).unwrap();
    let reply = answering(
        &mut server,
        |_| Reply::Refused(vec!["no".into()]),
        || second.call(&Command::Commit, PATIENCE),
    );
    assert_eq!(reply.unwrap(), Reply::Refused(vec!["no".into()]));
}

#[test]
fn a_late_reply_is_not_taken_for_the_next_one() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let error = client.call(&Command::Commit, MOMENT).unwrap_err();
    assert_eq!(error.to_string(), "the dataplane has not answered `commit` within 20ms");
    let (late, _) = command(&mut server);
    server.reply(late, &Reply::Committed { generation: 2, waiting: vec![] }).unwrap();
    let reply = answering(&mut server, |_| Reply::Done, || client.call(&Command::Abort, PATIENCE));
    assert_eq!(reply.unwrap(), Reply::Done);
}

#[test]
fn the_second_control_process_is_told_who_the_first_is() {
    let (dir, mut server) = bind();
    let _first = attach(&dir, &mut server);
    thread::scope(|scope| {
        let second = scope.spawn(|| Client::attach(dir.path(), PATIENCE));
        let pid = std::process::id();
        let refused = next(&mut server);
        let reason = Refusal::Taken { pid };
        assert!(
            matches!(refused, Incoming::Refused { pid: p, reason: r } if p == pid && r == reason)
        );
        let error = second.join().unwrap().unwrap_err();
        let expected = format!(
            "the dataplane refused: control process {pid} is attached already: stop it first"
        );
        assert_eq!(error.to_string(), expected);
    });
    assert!(server.attached());
}

#[test]
fn one_that_has_just_died_does_not_keep_the_next_out() {
    let (dir, mut server) = bind();
    drop(attach(&dir, &mut server));
    thread::scope(|scope| {
        let second = scope.spawn(|| Client::attach(dir.path(), PATIENCE));
        assert!(matches!(next(&mut server), Incoming::Detached { .. }));
        assert!(matches!(next(&mut server), Incoming::Attached { .. }));
        second.join().unwrap().unwrap();
    });
}

#[test]
fn the_second_dataplane_is_told_who_the_first_is() {
    let (dir, server) = bind();
    let error = Server::bind(dir.path(), LIMITS).unwrap_err();
    let pid = std::process::id();
    assert!(error.to_string().contains(&format!("(process {pid}): stop it")), "{error}");
    drop(server);
    Server::bind(dir.path(), LIMITS).unwrap();
}

#[test]
fn what_a_dead_dataplane_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("dataplane.sock"), "stale").unwrap();
    std::fs::write(inner.join("dataplane.lock"), "1\n").unwrap();
    let server = Server::bind(&inner, LIMITS).unwrap();
    drop(server);
    assert!(!inner.join("dataplane.sock").exists());
}

#[test]
fn releases_must_match() {
    let other = Release { layout: 2, version: "9.9.9-\u{1b}[31mred".into() };
    for (ours, theirs) in [(Release::own(), other.clone()), (other, Release::own())] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::bind_as(ours.clone(), dir.path(), LIMITS).unwrap();
        thread::scope(|scope| {
            let client = scope.spawn(|| Client::attach_as(&theirs, dir.path(), PATIENCE));
            let Incoming::Refused { reason, .. } = next(&mut server) else { panic!() };
            let version = Refusal::Version { ours: ours.to_string(), theirs: theirs.to_string() };
            assert_eq!(reason, version);
            assert!(!reason.to_string().contains('\u{1b}'), "{reason}");
            let error = client.join().unwrap().unwrap_err();
            let expected = format!("the control process is {theirs} and the dataplane is {ours}");
            assert!(error.to_string().starts_with(&expected), "{error}");
        });
        assert!(!server.attached());
    }
}

#[test]
fn a_dataplane_that_is_not_there_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::attach(dir.path(), MOMENT).unwrap_err();
    assert!(matches!(error, ChannelError::Absent { .. }), "{error}");
    assert!(error.to_string().contains("dataplane.sock"), "{error}");
    thread::scope(|scope| {
        let client = scope.spawn(|| Client::attach(dir.path(), PATIENCE).map(drop));
        thread::sleep(MOMENT);
        let mut server = Server::bind(dir.path(), LIMITS).unwrap();
        assert!(matches!(next(&mut server), Incoming::Attached { .. }));
        client.join().unwrap().unwrap();
    });
}

#[test]
fn a_dataplane_that_does_not_answer_is_not_waited_for_long() {
    let (dir, _server) = bind();
    let error = Client::attach(dir.path(), MOMENT).unwrap_err();
    assert!(matches!(error, ChannelError::Deadline { command: "attach", .. }), "{error}");
}

#[test]
fn one_reply_at_a_time() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let large = Reply::State(state(50_000));
    assert!(client.call(&Command::State { tables: Vec::new() }, MOMENT).is_err());
    assert!(client.call(&Command::Status, MOMENT).is_err());
    let (first, _) = command(&mut server);
    server.reply(first, &large).unwrap();
    assert!(server.service().is_none(), "no command while a reply is on its way");
    assert_eq!(server.reply(first, &Reply::Done), Err(Busy));
    let reply = answering(&mut server, |_| Reply::Done, || client.call(&Command::Abort, PATIENCE));
    assert_eq!(reply.unwrap(), Reply::Done);
}

#[test]
fn a_reply_too_large_for_the_channel_is_refused_in_its_place() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let enormous = "x".repeat(65 << 20);
    let reply = answering(
        &mut server,
        |_| Reply::Refused(vec![enormous.clone()]),
        || client.call(&Command::State { tables: Vec::new() }, PATIENCE),
    );
    let Reply::Refused(reasons) = reply.unwrap() else { panic!() };
    assert!(reasons[0].contains("over the channel's limit of 67108864"), "{reasons:?}");
}

#[test]
fn a_command_too_large_for_the_channel_is_not_sent() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let interface = Some("x".repeat(65 << 20).into());
    let command = Command::FlushNeighbours { interface, address: None };
    let error = client.call(&command, MOMENT).unwrap_err();
    assert!(error.to_string().starts_with("`flush-neighbours` takes 6815"), "{error}");
    assert!(server.service().is_none() && !client.lost());
}
