//! Reading a configuration file, with everything that is wrong with it.

use std::io::Read as _;
use std::path::Path;

use sluice_policy::config::{self, Configuration};

use crate::failed::Failed;

/// The file's bytes and its name in reports; `-` is standard input.
pub(crate) fn bytes(path: &Path) -> Result<(Vec<u8>, String), Failed> {
    let failed = |source| Failed::Read { path: path.into(), source };
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
        return Ok((bytes, "stdin".into()));
    }
    Ok((std::fs::read(path).map_err(failed)?, path.display().to_string()))
}

/// The file's absolute path, by which the control process knows at its next start that it was read;
/// none for standard input.
pub(crate) fn absolute(path: &Path) -> Option<String> {
    let absolute = std::fs::canonicalize(path).ok().filter(|_| path != Path::new("-"))?;
    absolute.into_os_string().into_string().ok()
}

/// The configuration, if nothing is wrong with it that can be found without a dataplane.
pub(crate) fn read(path: &Path) -> Result<Configuration, Failed> {
    let (bytes, name) = bytes(path)?;
    config::read(&bytes, &name).map_err(Failed::Config)
}

/// What a configuration that is in order asks for, in one line.
pub(crate) fn summary(configuration: &Configuration) -> String {
    let state = &configuration.state;
    let rules: usize = state.filters.values().map(|filter| filter.rules.len()).sum();
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let policy_routes: usize = state.policy_routes.values().map(Vec::len).sum();
    let mut counts = vec![
        count(state.ports.len(), "port"),
        count(state.interfaces.len(), "interface"),
        count(state.routes.len(), "route"),
        count(rules, "rule"),
    ];
    if policy_routes > 0 {
        counts.push(count(policy_routes, "policy route"));
    }
    if !state.hooks.is_empty() {
        counts.push(count(state.hooks.len(), "hook"));
    }
    counts.join(", ")
}
