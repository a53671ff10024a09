//! Captures: `GET /v1/capture` answers with a file of packets (pcapng) that grows as they pass.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Header in which `GET /v1/capture` says the capture's number, for `DELETE /v1/capture`.
pub const CAPTURE_HEADER: &str = "x-sluice-capture";

/// Where packets are seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureDirection {
    /// As they were received.
    In,
    /// As they are about to be sent.
    Out,
    /// On their way from one instance to another.
    Local,
    /// Where they are dropped.
    Dropped,
}

impl CaptureDirection {
    /// All of them.
    pub const ALL: [CaptureDirection; 4] = [
        CaptureDirection::In,
        CaptureDirection::Out,
        CaptureDirection::Local,
        CaptureDirection::Dropped,
    ];

    /// Its name, as the interface and the command line have it.
    pub const fn name(self) -> &'static str {
        match self {
            CaptureDirection::In => "in",
            CaptureDirection::Out => "out",
            CaptureDirection::Local => "local",
            CaptureDirection::Dropped => "dropped",
        }
    }
}
