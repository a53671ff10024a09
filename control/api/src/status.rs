//! How the two processes are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Confirm;

/// The control process, and the dataplane as it last answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the control process.
    pub version: String,
    /// Process id of the control process.
    pub pid: u32,
    /// Seconds since the control process started.
    pub uptime_seconds: u64,
    /// The configuration file whose content is desired; none when it was adopted from a running
    /// dataplane.
    pub file: Option<String>,
    /// Routes of owner `cli`.
    pub live_routes: usize,
    /// Whether the dataplane is as desired.
    pub progress: Progress,
    /// The dataplane; none while it cannot be asked.
    pub dataplane: Option<Dataplane>,
    /// Whether what is committed is safe on disk.
    #[serde(default)]
    pub persistence: Persistence,
    /// What waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// For how long the dataplane's agent has not gone round; none while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_stalled_ms: Option<u64>,
    /// What the operator should know: a file that was changed and is not applied, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How commits are kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Persistence {
    /// The directory they are in.
    pub directory: String,
    /// Why they cannot be kept at present; changes are refused then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Files that could not be read and were put aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedFile>,
}

/// A file that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DamagedFile {
    /// Where it is now.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

/// How far the desired state has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Progress {
    /// No dataplane is attached; attaching is tried again and again.
    Waiting {
        /// Why the last try failed.
        reason: String,
    },
    /// The dataplane refused what is desired; it is offered again from time to time.
    Refused {
        /// What the dataplane runs instead.
        generation: u64,
        /// Its reasons.
        details: Vec<String>,
    },
    /// The dataplane runs what is desired.
    Committed {
        /// The generation that is live.
        generation: u64,
    },
}

/// The dataplane process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Dataplane {
    /// Version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The committed generation.
    pub generation: u64,
    /// Whether packet memory is on hugepages.
    pub hugepages: bool,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Buffer pools.
    pub mempools: Vec<Mempool>,
}

/// A pool of packet buffers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mempool {
    /// Name.
    pub name: String,
    /// Buffers in all.
    pub size: u32,
    /// Buffers that hold a packet, stand in a receive queue or in a core's cache.
    pub in_use: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_its_state() {
        let progress = Progress::Committed { generation: 3 };
        assert_eq!(
            serde_json::to_string(&progress).unwrap(),
            r#"{"state":"committed","generation":3}"#
        );
    }
}
