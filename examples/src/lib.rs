//! Hooks to learn from, and to load. Each file is one hook: its type, what it does with a packet,
//! and the [`Program`](sluice_hooks::Program) by which an operator loads it. [`tour`] is a module
//! that registers its hook itself, [`greet`] one that injects packets. What it takes to add one of your own
//! is in `docs/hooks.md`.

#![forbid(unsafe_code)]

pub mod dscp_mark;
pub mod greet;
pub mod hundredth;
pub mod pass;
pub mod syn_limit;
pub mod tour;

use sluice_policy::Event;

/// Where a hook over forwarded packets makes sense.
const ON_THE_WAY: &[Event] = &[Event::PhysicalIn, Event::Forwarding, Event::PhysicalOut];
