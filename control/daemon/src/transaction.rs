//! One change of the dataplane's state: `Begin`, `Apply` in parts, `Commit`.

use std::time::Duration;

use sluice_channel::{ChannelError, Client, Command, Reply};
use sluice_policy::model::{Delta, Operation};

/// How long an answer that needs no device may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a commit may take: it attaches devices and starts their queues.
const COMMIT_PATIENCE: Duration = Duration::from_secs(45);

/// Size of a part, encoded. Well under the ring, so that a part never waits for an empty one.
const PART: usize = 32 * 1024;

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
/// all.
pub(crate) fn push(
    client: &mut Client,
    expected: u64,
    generation: u64,
    delta: Delta,
) -> Result<Outcome, Broken> {
    let mut parts = Parts::new(delta);
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
struct Parts {
    operations: std::iter::Peekable<std::vec::IntoIter<Operation>>,
}

impl Parts {
    fn new(delta: Delta) -> Parts {
        Parts { operations: delta.operations.into_iter().peekable() }
    }
}

impl Iterator for Parts {
    type Item = Delta;

    fn next(&mut self) -> Option<Delta> {
        let mut operations = vec![self.operations.next()?];
        let mut size = encoded(&operations[0]);
        while let Some(operation) = self.operations.next_if(|next| {
            size += encoded(next);
            size <= PART
        }) {
            operations.push(operation);
        }
        Some(Delta { operations })
    }
}

fn encoded(operation: &Operation) -> usize {
    postcard::experimental::serialized_size(operation).unwrap_or(PART)
}

#[cfg(test)]
mod tests {
    use sluice_policy::model::MacAddress;

    use super::*;

    #[test]
    fn parts_are_bounded_and_lose_nothing() {
        let operations: Vec<_> = (0..10_000_u32)
            .map(|i| {
                let address = std::net::Ipv4Addr::from_bits(i).into();
                let key = sluice_policy::model::NeighbourKey { interface: "lan".into(), address };
                Operation::Neighbour(key, Some(MacAddress([2, 0, 0, 0, 0, 1])))
            })
            .collect();
        let parts: Vec<Delta> = Parts::new(Delta { operations: operations.clone() }).collect();
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.operations.iter().map(encoded).sum::<usize>() <= PART);
        }
        let together: Vec<_> = parts.into_iter().flat_map(|part| part.operations).collect();
        assert_eq!(together, operations);
        assert_eq!(Parts::new(Delta::default()).count(), 0);
    }
}
