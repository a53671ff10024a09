//! Queries and bodies whose mistakes are answered like every other failure, and who asks.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Json, Query, Request};
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use sluice_control_api::AUTHOR_HEADER;
use tokio::sync::mpsc;

use super::peer::Peer;
use crate::batch::{Batch, Stream};
use crate::error::ControlError;

/// How many pieces of a stream may wait to be read.
const PIECES: usize = 16;

/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// The query of the path.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ControlError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(rejection) => Err(ControlError::Request(rejection.body_text())),
        }
    }
}

/// A JSON body, whatever content type it is sent as.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ControlError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| ControlError::Request(rejection.body_text()))?;
        match Json::from_bytes(&bytes) {
            Ok(Json(body)) => Ok(Body(body)),
            Err(rejection) => Err(ControlError::Request(rejection.body_text())),
        }
    }
}

/// Operations on routes, one a line, as they arrive.
pub(super) struct Operations(axum::body::Body);

impl<S: Send + Sync> FromRequest<S> for Operations {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Operations(request.into_body()))
    }
}

impl Operations {
    /// Reads all of them, and works while it waits.
    pub(super) async fn read(self, mut stream: Stream) -> Result<Batch, ControlError> {
        let (pieces, mut arrived) = mpsc::channel::<Bytes>(PIECES);
        let reading = tokio::task::spawn_blocking(move || {
            while let Some(piece) = arrived.blocking_recv() {
                stream.feed(&piece)?;
            }
            Ok(stream)
        });
        let mut body = self.0.into_data_stream();
        let broke_off = loop {
            match tokio::time::timeout(SILENCE, body.next()).await {
                Ok(Some(Ok(piece))) => {
                    if pieces.send(piece).await.is_err() {
                        break None; // what was read is wrong for good
                    }
                }
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Ok(None) => break None,
                Err(_) => break Some(format!("nothing came for {} s", SILENCE.as_secs())),
            }
        };
        drop(pieces);
        let stream: Result<Stream, ControlError> =
            reading.await.map_err(|_| ControlError::Stopping)?;
        match broke_off {
            Some(reason) => Err(ControlError::BrokeOff(reason)),
            None => {
                let finish = move || stream?.finish();
                tokio::task::spawn_blocking(finish).await.map_err(|_| ControlError::Stopping)?
            }
        }
    }
}

/// Who asks.
pub(super) struct Author {
    peer: Option<Peer>,
    claimed: Option<String>,
}

impl Author {
    /// The name that a commit carries.
    pub(super) async fn name(self) -> String {
        match self.peer {
            Some(peer) => peer.author(self.claimed).await,
            None => "unknown".into(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|info| info.0);
        let claimed = parts.headers.get(AUTHOR_HEADER);
        let claimed = claimed.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Ok(Author { peer, claimed })
    }
}
