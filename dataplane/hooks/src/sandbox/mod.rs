//! Hooks that run in a sandbox: eBPF programs that an operator loads from a file.
//!
//! A file is read and verified by `sluice-sandbox`, compiled by DPDK's `librte_bpf`, and run here: for
//! each packet, what the program looks at is put into its [`View`], what it has changed is put into the
//! packet, and its answer becomes a [`Verdict`](crate::Verdict). Each worker has a view and tables of its
//! own; the code is the same for all.
//!
//! A program cannot crash, hang or look around. What it can do wrong is what any hook can: drop the
//! wrong packets, or make them wrong, for which there are names.

mod run;
mod settings;
mod table;

use std::sync::Arc;

use sluice_dpdk::{DpdkError, bpf};
use sluice_policy::Event;
use sluice_sandbox::{Program, Refused};

use crate::program::{Loadable, Made};
use run::Running;
use settings::Set;

/// Why a file is not loaded as a program.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It is no program that may run.
    #[error("the sandbox refuses the program: {0}")]
    Refused(#[from] Refused),
    /// DPDK does not take it.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
}

/// What an operator can load of a file that was read.
///
/// # Errors
/// [`SandboxError`] names the instruction, what is wrong with it, and what to do.
pub fn load(file: &[u8]) -> Result<Loadable, SandboxError> {
    let Program { declaration, code } = Program::read(file)?;
    let program = Arc::new(bpf::Program::load(&code)?);
    let how = if program.is_native() { "compiled" } else { "interpreted: no compiler for here" };
    tracing::info!(
        program = declaration.name,
        instructions = code.code().len(),
        steps = code.steps(),
        "program verified, {how}"
    );
    let at = |event: &Event| declaration.events >> *event as u32 & 1 == 1;
    let events = Event::ALL.into_iter().filter(|event| *event != Event::NicEvents && at(event));
    let known = declaration.settings.iter();
    Ok(Loadable {
        name: declaration.name.clone(),
        summary: declaration.summary.clone(),
        settings: known.map(|known| (known.name.clone(), settings::help(known))).collect(),
        events: events.collect(),
        make: Box::new(move |told| {
            let set = Set::of(&declaration, told)?;
            let (program, uses) = (Arc::clone(&program), code.uses());
            let counters = declaration.counters.len();
            let make = move || Running::new(Arc::clone(&program), uses, counters, &set);
            let made = match told.event() {
                Event::Observing if !uses.changes => Made::observer(make),
                _ => Made::new(move || crate::PerPacket(make())),
            };
            Ok(made.with_counters(&declaration.counters))
        }),
    })
}
