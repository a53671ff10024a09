//! One change of the dataplane's state: `Begin`, `Apply` in parts, for many operations `Prepare`,
//! `Commit`.

use std::time::Duration;

use sluice_channel::{ChannelError, Client, Command, Reply};
use sluice_policy::Packed;
use sluice_policy::model::Delta;

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
    let mut parts = Packed::parts(&delta.operations, PART, usize::MAX);
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
