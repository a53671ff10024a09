//! Files that hooks are loaded from.
//!
//! The dataplane reads and loads them, and may see other files than this process does: it is asked
//! what is in them, and a commit keeps the answer. So a file that has changed since is another hook,
//! to a difference as well as to a dataplane that starts.

use sluice_channel::{Command, Reply};
use sluice_policy::model::{LoadedHook, Name, State};

use super::Reconciler;
use crate::change::Change;
use crate::error::ControlError;
use crate::hook::{HookChange, with_unknown_files};

impl Reconciler {
    /// Has a change know what is in the files that it names.
    pub(super) fn look_at_files(&mut self, change: &mut Change) -> Result<(), ControlError> {
        match change {
            Change::File(file) => self.look_at_state(&mut file.configuration.state),
            Change::Hook(HookChange::Load(name, hook)) if hook.is_unknown_file() => {
                hook.digest = Some(self.look_at_file(name, hook)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The same for a state.
    pub(super) fn look_at_state(&mut self, state: &mut State) -> Result<(), ControlError> {
        for (name, mut hook) in with_unknown_files(state) {
            hook.digest = Some(self.look_at_file(&name, &hook)?);
            state.hooks.insert(name, hook);
        }
        Ok(())
    }

    fn look_at_file(&mut self, name: &Name, hook: &LoadedHook) -> Result<Name, ControlError> {
        let question = Command::HookFile { path: hook.program.clone() };
        match self.ask(&question)? {
            Reply::HookFile { digest } => Ok(digest),
            Reply::Refused(reasons) => {
                let place = &hook.position;
                let of = |reason| format!("{place}: hook `{name}`: {reason}");
                Err(ControlError::Refused(reasons.into_iter().map(of).collect()))
            }
            _ => Err(ControlError::Unexpected { command: question.name() }),
        }
    }
}
