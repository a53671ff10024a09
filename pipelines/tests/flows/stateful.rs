//! Filters that look at the state of connections.
