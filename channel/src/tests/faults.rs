//! Ends that die, stop, or belong to somebody else.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process;
use std::time::Instant;

use super::*;
use crate::frame::Kind;
use crate::greeting::MAX_GREETING;
use crate::stream::Message;
use crate::{ChannelError, Detachment, Notice, Refusal};

/// A command that does not fit into the ring.
fn large() -> Command {
    let interface = Some("x".repeat(3 << 20).into());
    Command::FlushNeighbours { interface, address: None }
}

/// Puts as much of a command into the ring as fits, and stops.
fn half_send(client: &mut Client) {
    let link = client.link.as_mut().unwrap();
    let sequence = (1 << 32) + 1;
    link.send(Message::new(Kind::Command, sequence, &large())).unwrap();
    assert!(link.sender.halfway());
}

#[test]
fn half_a_command_of_a_dead_control_process_is_discarded() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    half_send(&mut client);
    assert!(server.service().is_none(), "half a command is none");
    drop(client);
    let detached = next(&mut server);
    assert!(matches!(detached, Incoming::Detached { reason: Detachment::HungUp }));
    assert!(server.service().is_none());

    let mut client = attach(&dir, &mut server);
    let reply = answering(
        &mut server,
        |_| Reply::Done,
        || client.call(&Command::Begin { expected: 0, generation: 1 }, PATIENCE),
    );
    assert_eq!(reply.unwrap(), Reply::Done);
}

#[test]
fn a_control_process_that_stops_halfway_is_lost_after_a_while() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    server.silence = Duration::ZERO;
    assert!(server.service().is_none(), "one that has nothing to say may be silent for ever");
    half_send(&mut client);
    assert!(server.service().is_none(), "it has just begun");
    let detached = server.service();
    assert!(matches!(detached, Some(Incoming::Detached { reason: Detachment::Silent })));
    assert!(client.lost());
    assert!(matches!(client.call(&Command::Status, PATIENCE), Err(ChannelError::Lost)));
}

#[test]
fn a_control_process_that_takes_no_reply_is_lost_after_a_while() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    assert!(client.call(&Command::State { tables: Vec::new() }, MOMENT).is_err());
    let (sequence, _) = command(&mut server);
    server.reply(sequence, &Reply::State(state(50_000))).unwrap();
    assert!(server.service().is_none());
    server.silence = Duration::ZERO;
    let detached = server.service();
    assert!(matches!(detached, Some(Incoming::Detached { reason: Detachment::Silent })));
}

#[test]
fn a_dataplane_that_dies_within_a_reply_is_lost_at_once() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    thread::scope(|scope| {
        let call = scope.spawn(|| client.call(&Command::State { tables: Vec::new() }, PATIENCE));
        let (sequence, _) = command(&mut server);
        server.reply(sequence, &Reply::State(state(50_000))).unwrap();
        drop(server);
        assert!(matches!(call.join().unwrap(), Err(ChannelError::Lost)));
    });
    assert!(client.lost());
    assert_eq!(client.notices(), []);
    assert!(client.descriptor().is_none());
}

#[test]
fn the_last_words_of_a_dataplane_are_heard() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    server.event(&Notice::Stopping);
    drop(server);
    assert!(client.lost());
    assert_eq!(client.notices(), [Notice::Stopping]);
}

#[test]
fn a_full_ring_says_busy_and_goes_on_when_there_is_room() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let medium = |n: u32| {
        let interface = Some(format!("{n:>60000}").into());
        Command::FlushNeighbours { interface, address: None }
    };
    let mut sent = 0;
    loop {
        match client.call(&medium(sent), Duration::ZERO) {
            Err(ChannelError::Deadline { .. }) => sent += 1,
            Err(ChannelError::Busy { command: "flush-neighbours", .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((16..18).contains(&sent), "{sent} of 60,000 bytes in a ring of 1 MiB");
    assert!(!client.lost());
    let waited = Instant::now();
    assert!(matches!(client.call(&Command::Abort, MOMENT), Err(ChannelError::Deadline { .. })));
    assert!(waited.elapsed() >= MOMENT);

    let mut commands = Vec::new();
    let reply = answering(
        &mut server,
        |command| {
            commands.push(command);
            Reply::Done
        },
        || client.call(&Command::Commit, PATIENCE),
    );
    assert_eq!(reply.unwrap(), Reply::Done);
    let expected: Vec<_> = (0..sent).map(medium).chain([Command::Abort, Command::Commit]).collect();
    assert!(commands == expected, "each once, in order, and none of what was refused");
}

#[test]
fn a_command_that_is_cut_off_by_its_deadline_ends_the_session() {
    let (dir, mut server) = bind();
    let mut client = attach(&dir, &mut server);
    let error = client.call(&large(), MOMENT).unwrap_err();
    assert!(matches!(error, ChannelError::Busy { .. }), "{error}");
    assert!(client.lost());
    let detached = next(&mut server);
    assert!(matches!(detached, Incoming::Detached { reason: Detachment::HungUp }));
}

#[test]
fn strangers_are_shown_out() {
    use rustix::net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send,
        socket_with,
    };

    let (dir, mut server) = bind();
    let address = SocketAddrUnix::new(dir.path().join("dataplane.sock")).unwrap();
    let stranger = || {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        connect(&socket, &address).unwrap();
        socket
    };
    let refused =
        |incoming| matches!(incoming, Some(Incoming::Refused { reason: Refusal::Stranger, .. }));

    for junk in [&[0][..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 2 * MAX_GREETING]] {
        let socket = stranger();
        send(&socket, junk, SendFlags::empty()).unwrap();
        assert!(refused(server.service()));
    }

    drop(stranger());
    assert!(server.service().is_none(), "came and went");

    let mut sockets: Vec<_> = (0..9).map(|_| stranger()).collect();
    assert!(refused(server.service()), "the oldest of too many");
    sockets.truncate(7);
    assert!(server.service().is_none());
    let mut client = attach(&dir, &mut server);
    assert!(!client.lost(), "and they are in nobody's way");
    server.greeting = Duration::ZERO;
    for _ in 0..6 {
        assert!(refused(server.service()), "said nothing for too long");
    }
    assert!(server.service().is_none() && client.notices().is_empty());
    drop(sockets);
}

/// Runs one of the tests below in a process of its own, with `SLUICE_TEST_DIR` set.
fn child(test: &str, dir: &TempDir, uid: Option<u32>) -> process::Child {
    let mut command = process::Command::new(std::env::current_exe().unwrap());
    command.args([&format!("tests::faults::{test}"), "--exact", "--ignored", "--nocapture"]);
    command.env("SLUICE_TEST_DIR", dir.path());
    if let Some(uid) = uid {
        command.uid(uid);
    }
    command.stdout(process::Stdio::null()).stderr(process::Stdio::inherit()).spawn().unwrap()
}

fn dir_of_child() -> std::path::PathBuf {
    std::env::var_os("SLUICE_TEST_DIR").expect("run by another test").into()
}

#[test]
#[ignore = "the child of a_control_process_is_killed_within_a_command"]
fn child_that_is_killed() {
    let mut client = Client::attach(&dir_of_child(), PATIENCE).unwrap();
    assert!(client.call(&Command::Begin { expected: 0, generation: 1 }, PATIENCE).is_ok());
    half_send(&mut client);
    thread::sleep(PATIENCE);
}

#[test]
fn a_control_process_is_killed_within_a_command() {
    let (dir, mut server) = bind();
    let mut child = child("child_that_is_killed", &dir, None);
    let Incoming::Attached { pid } = next(&mut server) else { panic!("not attached") };
    assert_eq!(pid, child.id());
    let (sequence, Command::Begin { .. }) = command(&mut server) else { panic!() };
    server.reply(sequence, &Reply::Done).unwrap();
    thread::sleep(10 * MOMENT);
    assert!(server.service().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    let detached = next(&mut server);
    assert!(matches!(detached, Incoming::Detached { reason: Detachment::HungUp }));
}

#[test]
#[ignore = "the child of another_user_may_not_attach"]
fn child_of_another_user() {
    let error = Client::attach(&dir_of_child(), PATIENCE).unwrap_err();
    assert!(matches!(error, ChannelError::Refused { .. } | ChannelError::Lost), "{error}");
}

#[test]
fn another_user_may_not_attach() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can try
    }
    let (dir, mut server) = bind();
    // Not even if the files would let it in.
    for (path, mode) in [("", 0o755), ("dataplane.sock", 0o777)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.path().join(path), mode).unwrap();
    }
    let mut child = child("child_of_another_user", &dir, Some(65534));
    let reason = Refusal::Foreign { uid: 65534, ours: 0 };
    let refused = next(&mut server);
    assert!(matches!(refused, Incoming::Refused { reason: r, .. } if r == reason));
    assert!(child.wait().unwrap().success());
}
