//! How many routes a second the channel carries: `make bench-channel`.
//!
//! Three ways, from the control process's side to the dataplane's, each beside a Unix socket pair
//! that carries the very same bytes in the same run, without looking at them:
//!
//! * **messages**: one route a message, each with a frame, a sequence number and a checksum of its
//!   own, between two threads;
//! * **parts**: routes in parts of 32 KiB, as a transaction sends them, between two threads;
//! * **transaction**: the same between two processes over a whole session, each part answered.
//!
//! All of it is encoded from and decoded to what the programs use; the receiving end looks at every
//! route. `--check` fails when the messages are fewer than the bar, a million a second.

use std::env;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ipnet::Ipv4Net;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use sluice_channel::{Client, Command, Incoming, Limits, Reply, Server, measuring};
use sluice_policy::model::{NextHop, Operation, Owner, Position, Route, RouteKey, Target};
use sluice_policy::{Names, Packed};

/// Routes of one run; the best of a few runs counts.
const ROUTES: u32 = 1_000_000;
const RUNS: usize = 3;
/// Messages a second that the channel must carry.
const BAR: f64 = 1e6;
/// Bytes of a part, as the control process cuts them.
const PART: usize = 32 * 1024;
/// Bytes that a peer sends at a time at most.
const CHUNK: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", directory] => serve(Path::new(directory)),
        [] => measure(false),
        ["--check"] => measure(true),
        _ => bail!("usage: sluice-bench-channel [--check]"),
    }
}

fn measure(check: bool) -> anyhow::Result<()> {
    let single: Vec<Command> = (0..ROUTES).map(|n| apply(vec![route(n)])).collect();
    let parts = in_parts();
    println!("{ROUTES} routes, best of {RUNS} runs; the peer is a Unix socket pair, same bytes\n");
    println!("{:12} {:>12} {:>9} {:>14} {:>7}", "", "routes/s", "MB/s", "peer routes/s", "ratio");
    let messages = best(|| through_ring(&single))?;
    report("messages", messages, &single)?;
    report("parts", best(|| through_ring(&parts))?, &parts)?;
    report("transaction", best(|| through_session(&parts))?, &parts)?;
    let rate = f64::from(ROUTES) / messages.as_secs_f64();
    if check && rate < BAR {
        bail!("{rate:.0} messages a second, under the bar of {BAR:.0}");
    }
    Ok(())
}

/// Prints one way's rate beside its peer's.
fn report(name: &str, took: Duration, commands: &[Command]) -> anyhow::Result<()> {
    let bytes: Vec<Vec<u8>> =
        commands.iter().map(postcard::to_stdvec).collect::<Result<_, _>>().context("encoding")?;
    let peer = best(|| through_socket(&bytes))?;
    let routes = |took: Duration| f64::from(ROUTES) / took.as_secs_f64();
    let total: usize = bytes.iter().map(Vec::len).sum();
    println!(
        "{name:12} {:>12.0} {:>9.0} {:>14.0} {:>7.2}",
        routes(took),
        total as f64 / took.as_secs_f64() / 1e6,
        routes(peer),
        routes(took) / routes(peer),
    );
    Ok(())
}

fn best(mut run: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        best = best.min(run()?);
    }
    Ok(best)
}

/// From encoding the first to having decoded the last, in two threads.
fn through_ring(commands: &[Command]) -> anyhow::Result<Duration> {
    let (mut ingoing, mut outgoing) = measuring::ring()?;
    thread::scope(|scope| {
        let began = Instant::now();
        let receiver = scope.spawn(move || {
            let mut routes = 0;
            while routes < ROUTES {
                routes += looked_at(&outgoing.receive()?);
            }
            Ok::<_, anyhow::Error>(())
        });
        for command in commands {
            ingoing.send(command)?;
        }
        match receiver.join() {
            Ok(received) => received.map(|()| began.elapsed()),
            Err(_) => bail!("the receiver panicked"),
        }
    })
}

/// From `begin` to the answer to the last part, with a dataplane's end in another process.
fn through_session(parts: &[Command]) -> anyhow::Result<Duration> {
    let directory = tempfile::tempdir()?;
    let program = env::current_exe()?;
    let mut server = process::Command::new(program).arg("--serve").arg(directory.path()).spawn()?;
    let took = Client::attach(directory.path(), PATIENCE).and_then(|mut client| {
        let began = Instant::now();
        client.call(&Command::Begin { expected: 0, generation: 1 }, PATIENCE)?;
        for part in parts {
            client.call(part, PATIENCE)?;
        }
        Ok(began.elapsed())
    });
    // It ends when the session does.
    if took.is_err() {
        server.kill()?;
    }
    server.wait()?;
    Ok(took?)
}

/// The dataplane's end: waits in poll as the agent does, until the session is over.
fn serve(directory: &Path) -> anyhow::Result<()> {
    let mut server = Server::bind(directory, Limits { workers: 1, ports: 1, rules: 1 })?;
    let tick = Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        while let Some(incoming) = server.service() {
            match incoming {
                Incoming::Command { sequence, command } => {
                    looked_at(&command);
                    server.reply(sequence, &Reply::Done)?;
                }
                Incoming::Detached { .. } => return Ok(()),
                Incoming::Attached { .. } | Incoming::Refused { .. } => {}
            }
        }
        let mut descriptors: Vec<_> = server
            .poll_descriptors()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        poll(&mut descriptors, Some(&tick))?;
    }
}

/// The peer: the same bytes, in the same pieces, through the kernel and into a buffer.
fn through_socket(pieces: &[Vec<u8>]) -> anyhow::Result<Duration> {
    let (from, to): (OwnedFd, OwnedFd) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let total: usize = pieces.iter().map(Vec::len).sum();
    thread::scope(|scope| {
        let began = Instant::now();
        let receiver = scope.spawn(move || {
            let (mut buffer, mut received) = (vec![0; CHUNK], 0);
            while received < total {
                received += rustix::io::read(&to, &mut buffer[..])?;
                black_box(&buffer);
            }
            Ok::<_, anyhow::Error>(())
        });
        for piece in pieces {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let sent = rustix::net::send(&from, rest, SendFlags::NOSIGNAL)?;
                rest = &rest[sent..];
            }
        }
        match receiver.join() {
            Ok(received) => received.map(|()| began.elapsed()),
            Err(_) => bail!("the receiver panicked"),
        }
    })
}

/// Looks at every route of a command; returns how many there are.
fn looked_at(command: &Command) -> u32 {
    let Command::Apply(packed) = command else { return 0 };
    let is_route = |operation: &Operation| matches!(operation, Operation::Route(_, Some(_)));
    let operations = packed.clone().unpack(&mut Names::default());
    operations.filter(is_route).map(black_box).count() as u32
}

fn in_parts() -> Vec<Command> {
    let each = postcard::to_stdvec(&route(ROUTES - 1)).map_or(PART, |bytes| bytes.len());
    let numbers: Vec<u32> = (0..ROUTES).collect();
    numbers
        .chunks(PART / each)
        .map(|part| apply(part.iter().map(|&n| route(n)).collect()))
        .collect()
}

fn apply(operations: Vec<Operation>) -> Command {
    let mut parts = Packed::parts(&operations, usize::MAX, usize::MAX);
    Command::Apply(parts.next().unwrap_or_default())
}

/// A route as a configuration of a million of them has it.
fn route(number: u32) -> Operation {
    let network = Ipv4Addr::from_bits((1 << 31) | (number << 8));
    let prefix = Ipv4Net::new_assert(network, 24).into();
    let key = RouteKey::main("default", prefix, Owner::Static);
    let via = Some(Ipv4Addr::from_bits(0x0a00_0200 | ((number & 0x7f) + 1)).into());
    let target = Target::NextHops([NextHop { via, interface: None, weight: 1 }].into());
    let file = "/etc/sluice/sluice.yaml".into();
    let position = Position { file, line: number + 10, column: 5 };
    Operation::Route(key, Some(Route::new(target, &Owner::Static, position)))
}
