//! Hooks to learn from, and to load. Each module is one hook: its type, what it does with a packet,
//! and the [`Program`](sluice_hooks::Program) by which an operator loads it. What it takes to add
//! one of your own is in `docs/hooks.md`.

#![forbid(unsafe_code)]

pub mod dscp_mark;
pub mod hundredth;
pub mod pass;
pub mod syn_limit;

use sluice_policy::Event;

/// Where a hook over forwarded packets makes sense.
const ON_THE_WAY: &[Event] = &[Event::PhysicalIn, Event::Forwarding, Event::PhysicalOut];
