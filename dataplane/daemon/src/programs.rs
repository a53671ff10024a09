//! Which hooks are compiled in. To add one, write its line here.

use std::sync::Arc;

use sluice_hooks::{Module, Program};

/// The programs that operators can load.
pub const PROGRAMS: &[Program] = &[
    sluice_examples::hundredth::PROGRAM,
    sluice_examples::syn_limit::PROGRAM,
    sluice_examples::dscp_mark::PROGRAM,
    sluice_examples::pass::BURST,
    sluice_examples::pass::PACKET,
];

/// The modules that live in every instance from the start.
pub fn modules() -> Vec<Arc<dyn Module>> {
    Vec::new()
}

/// The program of that name.
pub fn program(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}
