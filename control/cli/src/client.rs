//! HTTP to the control process over its Unix socket: one request, one connection, one deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_control_api::{Failure, SOCKET};
use tokio::net::UnixStream;

use crate::failed::Failed;

/// A commit that takes ports over waits for the devices.
const DEADLINE: Duration = Duration::from_secs(90);

/// A routing table of a million routes takes about 200 MB as JSON.
const LARGEST_ANSWER: usize = 1 << 30;

/// The control process of one appliance.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The control process of the appliance in `directory`. Connects with each request.
    pub(crate) fn new(directory: &Path) -> Client {
        Client { socket: directory.join(SOCKET) }
    }

    /// `GET path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let answer = self.request(Method::GET, path, Bytes::new()).await?;
        self.parse(&answer)
    }

    /// `POST path` with a JSON body.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failed> {
        let body = serde_json::to_vec(body).expect("the interface's types have string keys");
        let answer = self.request(Method::POST, path, body.into()).await?;
        self.parse(&answer)
    }

    /// `POST path` with a body of text.
    pub(crate) async fn post_text<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failed> {
        let answer = self.request(Method::POST, path, body.into()).await?;
        self.parse(&answer)
    }

    /// `DELETE path`.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let answer = self.request(Method::DELETE, path, Bytes::new()).await?;
        self.parse(&answer)
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failed> {
        tokio::time::timeout(DEADLINE, self.exchange(method, path, body)).await.unwrap_or_else(
            |_| Err(self.broke_off(format!("no answer within {} s", DEADLINE.as_secs()))),
        )
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failed> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| Failed::connecting(&self.socket, error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke_off(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let kind = if body.first() == Some(&b'{') { "application/json" } else { "text/plain" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sluice")
            .header("content-type", kind)
            .body(Full::new(body))
            .map_err(|error| Failed::Usage(format!("`{path}` is not a path: {error}")))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.broke_off(error.to_string()))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| self.broke_off(error.to_string()))?
            .to_bytes();
        driver.abort();
        if status.is_success() { Ok(answer) } else { Err(refused(status, &answer)) }
    }

    fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failed> {
        serde_json::from_slice(answer).map_err(|error| {
            self.broke_off(format!("its answer is not understood ({error}); same version?"))
        })
    }

    fn broke_off(&self, reason: String) -> Failed {
        Failed::Conversation { socket: self.socket.clone(), reason }
    }
}

fn refused(status: StatusCode, answer: &[u8]) -> Failed {
    Failed::Refused(serde_json::from_slice(answer).unwrap_or_else(|_| Failure {
        error: format!("{status}: {}", String::from_utf8_lossy(answer).trim()),
        details: Vec::new(),
    }))
}

/// A path with a query, its values escaped.
pub(crate) fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut text = path.to_owned();
    let mut separator = '?';
    for (key, value) in query {
        let Some(value) = value else { continue };
        text.push(separator);
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    text.push(byte.into());
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
        separator = '&';
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let query = [("file", Some("a b&c.yaml".into())), ("generation", None)];
        assert_eq!(with_query("/v1/apply", &query), "/v1/apply?file=a%20b%26c.yaml");
        let query = [("to", Some("fd00::/8".into())), ("instance", Some("blue".into()))];
        assert_eq!(with_query("/v1/routes", &query), "/v1/routes?to=fd00%3A%3A/8&instance=blue");
    }

    #[test]
    fn an_answer_that_is_not_json_is_still_shown() {
        let failed = refused(StatusCode::NOT_FOUND, b"nothing here\n");
        assert_eq!(failed.to_string(), "404 Not Found: nothing here");
    }
}
