//! What is compiled in beside the stages of the pipeline. To add a hook or a module of your own,
//! write its line here.

use std::sync::Arc;

use anyhow::bail;
use sluice_examples::{dscp_mark, greet, hundredth, pass, syn_limit, tour};
use sluice_hooks::{Module, Program};

/// The programs that operators can load: `sluice hook load`.
pub const PROGRAMS: &[Program] =
    &[hundredth::PROGRAM, syn_limit::PROGRAM, dscp_mark::PROGRAM, pass::BURST, pass::PACKET];

/// The modules that can live in every instance: `--module NAME`.
const MODULES: &[(&str, MakeModule)] =
    &[(tour::NAME, || Arc::new(tour::Tour)), (greet::NAME, || Arc::new(greet::Greet))];

type MakeModule = fn() -> Arc<dyn Module>;

/// The module of that name.
///
/// # Errors
/// When there is none; the message names those that there are.
pub fn module(name: &str) -> anyhow::Result<Arc<dyn Module>> {
    match MODULES.iter().find(|(known, _)| *known == name) {
        Some((_, make)) => Ok(make()),
        None => {
            let known: Vec<_> = MODULES.iter().map(|(name, _)| *name).collect();
            bail!("no module is named `{name}`; there are {}", known.join(", "))
        }
    }
}
