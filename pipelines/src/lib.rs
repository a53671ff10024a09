//! The stages that ship with Sluice, and the [`Pipeline`] that runs them over a burst.
//!
//! One module a stage. Those that are hooks ([`flow`], [`filter`], [`route`], [`forward`]) are registered by
//! [`register`] and run in the order that the policy resolves; [`decode`], [`arp`], [`local`],
//! [`neighbour`] and [`tx`] are fixed in their places, and so is [`fragments`] before [`route`].
//!
//! What is remembered of a connection answers for most packets ([`flow`]): the stages behind leave
//! those alone.
//!
//! What must never be: a stage that blocks, allocates, locks, logs or calls the kernel; a packet
//! that leaves a burst uncounted.

#![forbid(unsafe_code)]

pub mod agent;
pub mod answer;
pub mod arp;
pub mod capture;
pub mod cut;
pub mod decode;
mod down;
pub mod filter;
pub mod flow;
pub mod forward;
pub mod fragments;
pub mod inject;
pub mod local;
mod loopback;
pub mod nd;
pub mod neighbour;
pub mod pipeline;
pub mod redecode;
pub mod route;
mod run;
pub mod spread;
pub mod tx;

use std::sync::Arc;

use sluice_hooks::Registry;
use sluice_policy::Stage;
use sluice_policy::model::FilterPoint;

pub use agent::{AgentLink, Report};
pub use inject::{Injections, Injector};
pub use pipeline::{Generation, Pipeline};
pub use run::Authors;

/// Registers the stages that are hooks.
pub fn register(registry: &mut Registry) {
    let filter =
        |point| move || -> Box<dyn sluice_hooks::Hook> { Box::new(filter::Filter::new(point)) };
    registry.builtin(Stage::Flow, Arc::new(|| Box::new(flow::FlowStage)));
    registry.builtin(Stage::IngressFilter, Arc::new(filter(FilterPoint::Ingress)));
    registry.builtin(Stage::Route, Arc::new(|| Box::new(route::Route)));
    registry.builtin(Stage::ForwardFilter, Arc::new(filter(FilterPoint::Forward)));
    registry.builtin(Stage::HopLimit, Arc::new(|| Box::new(forward::HopLimit)));
    registry.builtin(Stage::Mtu, Arc::new(|| Box::new(forward::Mtu)));
    registry.builtin(Stage::EgressFilter, Arc::new(filter(FilterPoint::Egress)));
}
