//! The modules of the desired state: what stands at no event and registers hooks of its own. They
//! come and go with commits.
//!
//! A module that comes is started while the commit is prepared, as it may refuse; one that goes is
//! stopped when the workers have adopted what is without it. One that is replaced is stopped before
//! the new one starts, since both may want the same names, and started again if nothing comes of it.

use sluice_hooks::abi::{ModuleFile, Opened};
use sluice_hooks::{Api, Module};
use sluice_policy::Policy;
use sluice_policy::model::{LoadedHook, Name};

use super::Agent;
use crate::files::HookFile;
use crate::programs;

/// A module of the desired state.
pub(super) struct LoadedModule {
    /// The hook that it was loaded as.
    pub(super) hook: Name,
    body: Body,
}

enum Body {
    BuiltIn(std::sync::Arc<dyn Module>),
    File(Box<dyn ModuleFile>),
    /// It was committed once and cannot be any more, for this reason.
    Missing(String),
}

/// What starting the modules of a policy has done.
#[derive(Default)]
pub(super) struct Started {
    new: Vec<LoadedModule>,
    /// Those that new ones have replaced.
    stopped: Vec<LoadedModule>,
}

impl LoadedModule {
    /// Whether it has registered a module of that name.
    pub(super) fn has(&self, module: &str) -> bool {
        match &self.body {
            Body::BuiltIn(built_in) => built_in.name() == module,
            Body::File(file) => file.modules().iter().any(|name| name == module),
            Body::Missing(_) => false,
        }
    }

    /// Numbers of its own, by name.
    pub(super) fn statistics(&self) -> Vec<(String, u64)> {
        match &self.body {
            Body::File(file) => file.statistics(),
            Body::BuiltIn(_) | Body::Missing(_) => Vec::new(),
        }
    }

    /// Why it does not run, if it does not.
    pub(super) fn problem(&self) -> Option<&str> {
        match &self.body {
            Body::Missing(reason) => Some(reason),
            Body::File(file) if file.modules().is_empty() => Some("it has registered no module"),
            _ => None,
        }
    }

    fn start(&mut self, api: &mut Api<'_>) -> Result<(), String> {
        match &mut self.body {
            Body::BuiltIn(module) => {
                api.register_module(module.clone()).map_err(|error| error.to_string())
            }
            Body::File(file) => file.start(api),
            Body::Missing(_) => Ok(()),
        }
    }

    fn stop(&mut self, api: &mut Api<'_>) -> Result<(), String> {
        match &mut self.body {
            Body::BuiltIn(module) => {
                api.unregister_module(module.name()).map_err(|error| error.to_string())
            }
            Body::File(file) => file.stop(api),
            Body::Missing(_) => Ok(()),
        }
    }
}

impl Agent {
    /// Starts the modules of a policy that do not run yet. `restores` says that it is what was
    /// committed before this dataplane started: what cannot be any more is left out then, and said.
    pub(super) fn start_modules(
        &mut self,
        policy: &Policy,
        restores: bool,
    ) -> Result<Started, Vec<String>> {
        let mut started = Started::default();
        let mut errors = Vec::new();
        let current = self.publisher.current().policy.clone();
        for (name, loaded) in policy.hooks().filter(|(_, hook)| hook.event.is_none()) {
            if current.hooks().any(|(n, is)| n == name && is.runs_as(loaded)) {
                continue;
            }
            let told = |error: String| format!("{}: module `{name}`: {error}", loaded.position);
            match self.start_module(name, loaded, &mut started) {
                Ok(()) => {}
                Err(reason) if restores => {
                    tracing::error!("{}: it is left out", told(reason.clone()));
                    let body = Body::Missing(reason);
                    started.new.push(LoadedModule { hook: name.clone(), body });
                }
                Err(reason) => errors.push(told(reason)),
            }
        }
        if errors.is_empty() {
            return Ok(started);
        }
        self.undo_modules(started);
        Err(errors)
    }

    fn start_module(
        &mut self,
        name: &Name,
        loaded: &LoadedHook,
        started: &mut Started,
    ) -> Result<(), String> {
        let body = match loaded.file() {
            None => Body::BuiltIn(
                programs::module(&loaded.program)
                    .map_err(|e| format!("{e:#}; a program that is no module needs an `event`"))?,
            ),
            Some(path) => {
                let file = HookFile::committed(path, loaded.digest.as_ref());
                match file.and_then(HookFile::open).map_err(|error| error.to_string())? {
                    Opened::Module(file) => Body::File(file),
                    Opened::Hook(hook) => {
                        return Err(format!(
                            "{path} is the hook `{}`, not a module: say at which `event` it stands",
                            hook.name
                        ));
                    }
                }
            }
        };
        if let Some(place) = self.modules.iter().position(|module| module.hook == *name) {
            let old = self.modules.remove(place);
            started.stopped.push(self.stop_module(old));
        }
        let mut module = LoadedModule { hook: name.clone(), body };
        self.with_stack(|stack, agent| module.start(&mut stack.api(agent)))?;
        started.new.push(module);
        Ok(())
    }

    /// Nothing comes of the commit: what ran runs again.
    pub(super) fn undo_modules(&mut self, started: Started) {
        for module in started.new.into_iter().rev() {
            self.stop_module(module);
        }
        for mut module in started.stopped {
            let hook = module.hook.clone();
            let back = self.with_stack(|stack, agent| module.start(&mut stack.api(agent)));
            if let Err(reason) = back {
                tracing::error!(module = %hook, "it could not be started again: {reason}");
                module.body = Body::Missing(reason);
            }
            self.modules.push(module);
        }
    }

    /// The commit has taken effect, with the modules that were started for it.
    pub(super) fn keep_modules(&mut self, started: Started) {
        self.modules.extend(started.new);
    }

    /// Stops the modules that the policy does not have any more.
    pub(super) fn stop_gone_modules(&mut self) {
        let policy = self.publisher.current().policy.clone();
        let is_there = |module: &LoadedModule| {
            policy.hooks().any(|(name, hook)| *name == module.hook && hook.event.is_none())
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.modules).into_iter().partition(is_there);
        self.modules = kept;
        for module in gone {
            self.stop_module(module);
        }
    }

    /// Stops all of them: the dataplane ends.
    pub(super) fn stop_modules(&mut self) {
        for module in std::mem::take(&mut self.modules).into_iter().rev() {
            self.stop_module(module);
        }
    }

    fn stop_module(&mut self, mut module: LoadedModule) -> LoadedModule {
        let stopped = self.with_stack(|stack, agent| module.stop(&mut stack.api(agent)));
        if let Err(reason) = stopped {
            tracing::error!(module = %module.hook, "stopping it: {reason}");
        }
        module
    }
}
