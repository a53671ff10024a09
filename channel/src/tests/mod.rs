//! Both ends together.

mod faults;
mod garbage;
mod session;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use sluice_policy::model::{
    DEFAULT_INSTANCE, NextHop, Owner, Position, Route, RouteKey, State, Target,
};
use tempfile::TempDir;

use crate::{Client, Command, Incoming, Limits, Reply, Server};

const LIMITS: Limits = Limits { workers: 2, ports: 4, rules: 64 };

/// Longer than anything should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Too short for anything to happen.
const MOMENT: Duration = Duration::from_millis(20);

fn bind() -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::bind(dir.path(), LIMITS).unwrap();
    (dir, server)
}

/// Waits until something is to be serviced; returns whether it was worth it.
fn wait(server: &Server, timeout: Duration) -> bool {
    let fds: Vec<_> = server.poll_descriptors().collect();
    let mut poll: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).unwrap();
    rustix::event::poll(&mut poll, Some(&timeout)).unwrap() > 0
}

/// Services until there is something to say.
fn next(server: &mut Server) -> Incoming {
    loop {
        if let Some(incoming) = server.service() {
            return incoming;
        }
        assert!(wait(server, PATIENCE), "nothing came");
    }
}

/// A client, attached to a server that this thread services.
fn attach(dir: &TempDir, server: &mut Server) -> Client {
    thread::scope(|scope| {
        let client = scope.spawn(|| Client::attach(dir.path(), PATIENCE).unwrap());
        let Incoming::Attached { pid } = next(server) else { panic!("not attached") };
        assert_eq!(pid, std::process::id());
        client.join().unwrap()
    })
}

/// The next command.
fn command(server: &mut Server) -> (u64, Command) {
    match next(server) {
        Incoming::Command { sequence, command } => (sequence, command),
        other => panic!("{other:?}"),
    }
}

/// Answers commands on another thread while `control` runs.
fn answering<R>(
    server: &mut Server,
    mut answer: impl FnMut(Command) -> Reply + Send,
    control: impl FnOnce() -> R,
) -> R {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                while let Some(incoming) = server.service() {
                    if let Incoming::Command { sequence, command } = incoming {
                        server.reply(sequence, &answer(command)).unwrap();
                    }
                }
                wait(server, MOMENT);
            }
        });
        let result = control();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// A state with so many routes.
fn state(routes: u32) -> State {
    let position = Position { file: "big.yaml".into(), line: 1, column: 1 };
    let route = |n: u32| {
        let prefix = format!("{}/24", Ipv4Addr::from(0x0a00_0000 + (n << 8))).parse().unwrap();
        let key = RouteKey::main(DEFAULT_INSTANCE, prefix, Owner::Static);
        let via = Some(IpAddr::from(Ipv4Addr::from(0xc0a8_0001 + n % 16)));
        let hops = [NextHop { via, interface: Some("wan".into()), weight: 1 }].into();
        (key, Route::new(Target::NextHops(hops), &Owner::Static, position.clone()))
    };
    State { routes: (0..routes).map(route).collect(), ..State::default() }
}
