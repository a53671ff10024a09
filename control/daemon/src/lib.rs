//! The control process: it owns the desired state of an appliance, makes the dataplane be as
//! desired, and answers people and programs over HTTP on a Unix socket.
//!
//! * [`Service`] is the process without its command line: a lock on the directory, the
//!   reconciler's thread, and the HTTP server.
//! * `store` is what was committed, on disk; `head` is the last commit: what the appliance should
//!   be.
//! * `reconciler` is the one thread that talks to the dataplane: it attaches, compares, pushes, and
//!   makes commits.
//! * `change` is what can be asked for; `batch` is many changes of live routes as one commit.
//! * `kernel` follows routes of the kernel.
//! * `transaction` is one change of the dataplane; `difference` is what it changes, in words.
//! * `flows` is how the dataplane is asked for its connections.
//! * `events` is what happens, for whoever watches; `watchdog` notices what does not.
//! * `load` is what the workers' time goes into, read from their counters.
//! * `http` is the interface; its types are in `sluice-control-api`.
//!
//! Invariants:
//!
//! * The dataplane forwards without this process. Nothing here is needed on a packet's way.
//! * What is desired changes only after the dataplane took it, and then as a whole.
//! * A change is on disk before the dataplane hears of it, and refused if it cannot be. Whatever
//!   dies, what was answered as committed is what comes back.
//! * What is answered about policy is about the generation that the dataplane confirmed; while
//!   there is none, the answer is that there is none.

#![forbid(unsafe_code)]

mod app;
mod batch;
mod capture;
mod change;
mod deadline;
mod difference;
mod error;
mod events;
mod flows;
mod head;
mod hook;
mod http;
mod kernel;
mod load;
mod lock;
mod notice;
mod reconciler;
mod service;
mod store;
mod text;
mod transaction;
mod view;
mod watchdog;

pub use error::ControlError;
pub use http::document;
pub use lock::LockError;
pub use service::{Options, Reload, Service, ServiceError};
pub use store::StoreError;
