//! The control process: it owns the desired state of an appliance, makes the dataplane be as
//! desired, and answers people and programs over HTTP on a Unix socket.
//!
//! * [`Service`] is the process without its command line: a lock on the directory, the
//!   reconciler's thread, and the HTTP server.
//! * `desired` is what the appliance should be: the configuration file's layer and the live one.
//! * `reconciler` is the one thread that talks to the dataplane: it attaches, compares, pushes.
//! * `transaction` is one change of the dataplane.
//! * `http` is the interface; its types are in `sluice-control-api`.
//!
//! Invariants:
//!
//! * The dataplane forwards without this process. Nothing here is needed on a packet's way.
//! * What is desired changes only after the dataplane took it, and then as a whole.
//! * What is answered about policy is about the generation that the dataplane confirmed; while
//!   there is none, the answer is that there is none.

#![forbid(unsafe_code)]

mod app;
mod change;
mod changes;
mod desired;
mod error;
mod http;
mod lock;
mod notice;
mod reconciler;
mod service;
mod text;
mod transaction;
mod view;

pub use error::ControlError;
pub use http::document;
pub use lock::LockError;
pub use service::{Options, Service, ServiceError};
