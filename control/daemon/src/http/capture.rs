//! Packets as they pass, as a file that grows for as long as the reader stays.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::{self as channel, CaptureFilter, CaptureRequest, MAX_SNAPLEN};
use sluice_control_api::{CAPTURE_HEADER, CaptureDirection};
use sluice_policy::model::Name;
use tokio::sync::mpsc::Receiver;

use super::Answer;
use super::extract::Params;
use super::tables::known_instance;
use crate::app::App;
use crate::capture::{self, Limits};
use crate::error::ControlError;

/// MiB in which packets wait, if nothing is said.
const USUAL_BUFFER: u32 = 16;

/// Which packets are wanted, and how much of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureParams {
    /// Only in this instance.
    instance: Option<Name>,
    /// Only by this interface, or by any of the port of this name.
    interface: Option<Name>,
    /// Only where they are seen so; left out, all but those that are dropped.
    direction: Option<CaptureDirection>,
    /// Whether those that are dropped are wanted, too.
    #[serde(default)]
    drops: bool,
    /// Only from this prefix.
    src: Option<IpNet>,
    /// Only to this prefix.
    dst: Option<IpNet>,
    /// Only from or to this prefix.
    host: Option<IpNet>,
    /// Only of this IP protocol number.
    proto: Option<u8>,
    /// Only with this port, of either side.
    port: Option<u16>,
    /// So many packets, and no more.
    count: Option<u64>,
    /// For so many seconds, and no longer.
    seconds: Option<u64>,
    /// Bytes of each packet, its link header included; 65,535 if left out.
    snaplen: Option<u32>,
    /// MiB of memory in which packets wait; 16 if left out, 256 at most.
    buffer: Option<u32>,
}

/// The capture that is to end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndParams {
    /// Its number, as the header of its file says.
    capture: u32,
}

/// A file of packets, as it grows.
pub(super) struct Packets {
    capture: u32,
    pieces: Receiver<Bytes>,
}

impl Packets {
    pub(super) const CONTENT_TYPE: &'static str = "application/x-pcapng";
}

impl IntoResponse for Packets {
    fn into_response(self) -> Response {
        let pieces = futures_util::stream::unfold(self.pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((Ok::<_, Infallible>(piece), pieces))
        });
        let number = self.capture.to_string();
        let kind = (CONTENT_TYPE.as_str(), Packets::CONTENT_TYPE.to_owned());
        ([kind, (CAPTURE_HEADER, number)], Body::from_stream(pieces)).into_response()
    }
}

pub(super) async fn begin(
    State(app): State<App>,
    Params(wanted): Params<CaptureParams>,
) -> Result<Packets, ControlError> {
    {
        let view = app.view();
        let (policy, _) = view.live()?;
        known_instance(wanted.instance.as_ref(), policy)?;
    }
    let filter = CaptureFilter {
        instance: wanted.instance,
        interface: wanted.interface,
        direction: wanted.direction.map(|direction| match direction {
            CaptureDirection::In => channel::CaptureDirection::In,
            CaptureDirection::Out => channel::CaptureDirection::Out,
            CaptureDirection::Local => channel::CaptureDirection::Local,
            CaptureDirection::Dropped => channel::CaptureDirection::Dropped,
        }),
        drops: wanted.drops,
        source: wanted.src,
        destination: wanted.dst,
        host: wanted.host,
        protocol: wanted.proto,
        port: wanted.port,
    };
    let request = CaptureRequest {
        filter,
        snaplen: wanted.snaplen.unwrap_or(MAX_SNAPLEN),
        buffer_mib: wanted.buffer.unwrap_or(USUAL_BUFFER),
    };
    let limits = Limits { count: wanted.count, time: wanted.seconds.map(Duration::from_secs) };
    let (capture, pieces) = capture::begin(&app, request, limits).await?;
    Ok(Packets { capture, pieces })
}

pub(super) async fn end(
    State(app): State<App>,
    Params(EndParams { capture }): Params<EndParams>,
) -> Answer<serde_json::Value> {
    if app.captures.end(capture) {
        Ok(Json(serde_json::json!({})))
    } else {
        Err(ControlError::NoSuchCapture(capture))
    }
}
