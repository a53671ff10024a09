//! Queries and bodies whose mistakes are answered like every other failure, and who asks.

use std::convert::Infallible;

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Json, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use sluice_control_api::AUTHOR_HEADER;

use super::peer::Peer;
use crate::error::ControlError;

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
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| ControlError::Request(rejection.body_text()))?;
        match Json::from_bytes(&bytes) {
            Ok(Json(body)) => Ok(Body(body)),
            Err(rejection) => Err(ControlError::Request(rejection.body_text())),
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
