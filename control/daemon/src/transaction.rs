//! One change of the dataplane's state: `Begin`, `Apply` in parts, for many operations `Prepare`,
//! `Commit`.

use std::time::Duration;

use sluice_channel::{ChannelError, Client, Command, Reply};
use sluice_policy::model::{Delta, Operation, RouteKey, Target};

/// How long an answer that needs no device may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a commit may take: it attaches devices and starts their queues.
const COMMIT_PATIENCE: Duration = Duration::from_secs(45);

/// Size of a part, encoded. Well under the ring, so that a part never waits for an empty one.
const PART: usize = 256 * 1024;

/// So many operations take longer to compile than it takes to ask for it.
pub(crate) const MANY: usize = 4096;

/// What came of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It took effect.
    Committed {
        /// Workers that had not taken it over by the dataplane's deadline.
        waiting: Vec<u16>,
    },
    /// The dataplane said no.
    Refused(Vec<String>),
    /// It was not to take effect after all.
    Abandoned,
    /// Another generation was live than the one that was expected.
    Conflict {
        /// The live one.
        live: u64,
    },
}

/// Why a transaction has no outcome. The session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Before the commit was sent: nothing took effect.
    #[error(transparent)]
    Before(ChannelError),
    /// After the commit was sent: whether it took effect is not known.
    #[error(transparent)]
    During(ChannelError),
    /// The dataplane answered something that is no answer to the command.
    #[error("the dataplane answered `{0}` with something else")]
    Unexpected(&'static str),
}

/// Makes the delta take effect on top of generation `expected`, as `generation`, wholly or not at
/// all. When all of it is sent, and before it takes effect, `ready` is asked whether it may.
pub(crate) fn push(
    client: &mut Client,
    expected: u64,
    generation: u64,
    delta: &Delta,
    ready: impl FnOnce() -> bool,
) -> Result<Outcome, Broken> {
    let mut parts = Parts { operations: &delta.operations };
    let mut command = Command::Begin { expected, generation };
    loop {
        match client.call(&command, PATIENCE) {
            Ok(Reply::Done) => {}
            Ok(Reply::Conflict { generation }) => {
                return Ok(Outcome::Conflict { live: generation });
            }
            Ok(Reply::Refused(reasons)) => return abort(client, reasons),
            Ok(_) => return Err(Broken::Unexpected(command.name())),
            Err(error @ ChannelError::TooLarge { .. }) => {
                return abort(client, vec![error.to_string()]);
            }
            Err(error) => return Err(Broken::Before(error)),
        }
        match parts.next() {
            Some(part) => command = Command::Apply(part),
            None => break,
        }
    }
    if delta.operations.len() >= MANY {
        match client.call(&Command::Prepare, COMMIT_PATIENCE) {
            Ok(Reply::Done) => {}
            Ok(Reply::Refused(reasons)) => return abort(client, reasons),
            Ok(_) => return Err(Broken::Unexpected("prepare")),
            Err(error) => return Err(Broken::Before(error)),
        }
    }
    if !ready() {
        return abort(client, Vec::new()).map(|_| Outcome::Abandoned);
    }
    match client.call(&Command::Commit, COMMIT_PATIENCE) {
        Ok(Reply::Committed { generation: made, waiting }) if made == generation => {
            Ok(Outcome::Committed { waiting })
        }
        Ok(Reply::Conflict { generation }) => Ok(Outcome::Conflict { live: generation }),
        Ok(Reply::Refused(reasons)) => Ok(Outcome::Refused(reasons)),
        Ok(_) => Err(Broken::Unexpected("commit")),
        Err(error @ ChannelError::Busy { .. }) => Err(Broken::Before(error)),
        Err(error) => Err(Broken::During(error)),
    }
}

/// Discards what was sent so far. A refusal may have closed the transaction already, so that the
/// answer does not matter.
fn abort(client: &mut Client, reasons: Vec<String>) -> Result<Outcome, Broken> {
    client.call(&Command::Abort, PATIENCE).map_err(Broken::Before)?;
    Ok(Outcome::Refused(reasons))
}

/// A delta in parts of about [`PART`] bytes. An operation is never split.
struct Parts<'a> {
    operations: &'a [Operation],
}

impl Iterator for Parts<'_> {
    type Item = Delta;

    fn next(&mut self) -> Option<Delta> {
        let mut size = bound(self.operations.first()?);
        let more = self.operations[1..].iter().take_while(|operation| {
            size += bound(operation);
            size <= PART
        });
        let (part, rest) = self.operations.split_at(1 + more.count());
        self.operations = rest;
        Some(Delta { operations: part.to_vec() })
    }
}

/// How long an operation is at most when it is encoded.
fn bound(operation: &Operation) -> usize {
    /// Of all numbers, lengths and tags of a route, and of a next hop: more than they ever take.
    const FIXED: usize = 96;
    const FIXED_HOP: usize = 32;
    match operation {
        // Of these there may be a million, and to encode them for their length takes its time.
        Operation::Route(RouteKey { instance, table, prefix: _, owner }, route) => {
            let place = instance.len() + table.len() + owner.name().len();
            let route = route.as_ref().map_or(0, |route| {
                let target = match &route.target {
                    Target::NextHops(hops) => {
                        let names = hops.iter().filter_map(|hop| hop.interface.as_deref());
                        hops.len() * FIXED_HOP + names.map(str::len).sum::<usize>()
                    }
                    Target::Table { instance, table } => instance.len() + table.len(),
                    Target::Blackhole | Target::Reject | Target::Prohibit => 0,
                };
                target + route.position.file.len()
            });
            FIXED + place + route
        }
        other => postcard::experimental::serialized_size(other).unwrap_or(PART),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use ipnet::IpNet;
    use sluice_policy::model::{MacAddress, Name, NextHop, Owner, Position, Route};

    use super::*;

    #[test]
    fn parts_are_bounded_and_lose_nothing() {
        let operations: Vec<_> = (0..100_000_u32)
            .map(|i| {
                let address = std::net::Ipv4Addr::from_bits(i).into();
                let key = sluice_policy::model::NeighbourKey { interface: "lan".into(), address };
                Operation::Neighbour(key, Some(MacAddress([2, 0, 0, 0, 0, 1])))
            })
            .collect();
        let parts: Vec<Delta> = Parts { operations: &operations }.collect();
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.operations.iter().map(bound).sum::<usize>() <= PART);
        }
        let together: Vec<_> = parts.into_iter().flat_map(|part| part.operations).collect();
        assert_eq!(together, operations);
        assert_eq!(Parts { operations: &[] }.count(), 0);
    }

    #[test]
    fn a_route_is_not_longer_than_its_bound() {
        let hop = NextHop {
            via: Some(Ipv6Addr::from_bits(u128::MAX).into()),
            interface: Some("x".repeat(63).into()),
            weight: u16::MAX,
        };
        let name = || Name::from("n".repeat(63));
        let position = Position { file: name(), line: u32::MAX, column: u32::MAX };
        for target in [
            Target::Blackhole,
            Target::NextHops(vec![hop; 300]),
            Target::Table { instance: name(), table: name() },
        ] {
            let prefix = IpNet::new(Ipv6Addr::from_bits(u128::MAX).into(), 128).unwrap();
            let owner = Owner::Named(name());
            let route = Route {
                preference: u32::MAX,
                metric: u32::MAX,
                tag: u32::MAX,
                generation: u64::MAX,
                ..Route::new(target, &owner, position.clone())
            };
            let key = RouteKey { instance: name(), table: name(), prefix, owner };
            for route in [None, Some(route)] {
                let operation = Operation::Route(key.clone(), route);
                let size = postcard::experimental::serialized_size(&operation).unwrap();
                assert!(size <= bound(&operation), "{size} of at most {}", bound(&operation));
            }
        }
    }
}
