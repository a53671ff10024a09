//! HTTP to the control process over its Unix socket: one request, one connection, one deadline.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_control_api::{AUTHOR_HEADER, Failure, SOCKET};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::failed::Failed;
use crate::upload::Upload;

/// A commit that takes ports over waits for the devices.
const DEADLINE: Duration = Duration::from_secs(90);

/// A routing table of a million routes takes about 200 MB as JSON.
const LARGEST_ANSWER: usize = 1 << 30;

/// The longest line of a stream.
const LARGEST_LINE: usize = 1 << 20;

/// The control process of one appliance.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    /// Who became root to run this command, for the record of what was changed.
    author: Option<HeaderValue>,
}

impl Client {
    /// The control process of the appliance in `directory`. Connects with each request.
    pub(crate) fn new(directory: &Path) -> Client {
        let author = std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty());
        let author = author.and_then(|user| HeaderValue::from_str(&user).ok());
        Client { socket: directory.join(SOCKET), author }
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

    /// `POST path` with a file of lines of JSON, sent while it is read.
    pub(crate) async fn post_file<T: DeserializeOwned>(
        &self,
        path: &str,
        file: &Path,
    ) -> Result<T, Failed> {
        let body = Upload::open(file)?;
        let failure = body.failure();
        let answer = self.exchange(Method::POST, path, "application/x-ndjson", body).await;
        // What was not sent to its end is not what the control process is to be asked about.
        if let Some(source) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Failed::Read { path: file.into(), source });
        }
        self.parse(&answer?)
    }

    /// `DELETE path`.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let answer = self.request(Method::DELETE, path, Bytes::new()).await?;
        self.parse(&answer)
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failed> {
        let kind = if body.first() == Some(&b'{') { "application/json" } else { "text/plain" };
        let exchange = self.exchange(method, path, kind, Full::new(body));
        tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| {
            Err(self.broke_off(format!("no answer within {} s", DEADLINE.as_secs())))
        })
    }

    async fn exchange<B>(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: B,
    ) -> Result<Bytes, Failed>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let (response, driver) = self.send(method, path, kind, body).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| self.broke_off(error.to_string()))?
            .to_bytes();
        driver.abort();
        if status.is_success() { Ok(answer) } else { Err(refused(status, &answer)) }
    }

    /// `GET path`, which answers with lines for as long as the control process lives.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, Failed> {
        let (response, driver) = self.stream(path).await?;
        Ok(Lines { body: response.into_body(), begun: Vec::new(), _driver: driver })
    }

    /// `GET path`, whose answer comes bit by bit.
    async fn stream(&self, path: &str) -> Result<(Response<Incoming>, Driver), Failed> {
        let sent = self.send(Method::GET, path, "text/plain", Full::new(Bytes::new()));
        let sent = tokio::time::timeout(DEADLINE, sent).await;
        let (response, driver) = sent.unwrap_or_else(|_| {
            Err(self.broke_off(format!("no answer within {} s", DEADLINE.as_secs())))
        })?;
        let status = response.status();
        if !status.is_success() {
            let answer = Limited::new(response.into_body(), LARGEST_LINE).collect().await;
            let answer = answer.map_err(|error| self.broke_off(error.to_string()))?;
            return Err(refused(status, &answer.to_bytes()));
        }
        Ok((response, Driver(driver)))
    }

    /// `GET path`, which answers with a file that grows.
    pub(crate) async fn pieces(&self, path: &str) -> Result<Pieces, Failed> {
        let (response, driver) = self.stream(path).await?;
        let (parts, body) = response.into_parts();
        Ok(Pieces { headers: parts.headers, body, _driver: driver })
    }

    async fn send<B>(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: B,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), Failed>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| Failed::connecting(&self.socket, error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke_off(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sluice")
            .header("content-type", kind);
        if let Some(author) = &self.author {
            request = request.header(AUTHOR_HEADER, author);
        }
        let request = request
            .body(body)
            .map_err(|error| Failed::Usage(format!("`{path}` is not a path: {error}")))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.broke_off(error.to_string()))?;
        Ok((response, driver))
    }

    fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failed> {
        serde_json::from_slice(answer).map_err(|error| {
            self.broke_off(format!("its answer is not understood ({error}); same version?"))
        })
    }

    pub(crate) fn broke_off(&self, reason: String) -> Failed {
        Failed::Conversation { socket: self.socket.clone(), reason }
    }
}

fn refused(status: StatusCode, answer: &[u8]) -> Failed {
    let failure = serde_json::from_slice(answer).unwrap_or_else(|_| Failure {
        error: format!("{status}: {}", String::from_utf8_lossy(answer).trim()),
        ..Failure::default()
    });
    Failed::refused(status, failure)
}

/// Lines that arrive one by one.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    /// The beginning of a line whose end has not arrived.
    begun: Vec<u8>,
    _driver: Driver,
}

/// Ends the connection with its reader.
#[derive(Debug)]
struct Driver(JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lines {
    /// The next line that is not empty, without its end; none at the end of the conversation.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() {
                    return Some(line);
                }
            } else if self.begun.len() > LARGEST_LINE {
                return None;
            } else if let Ok(data) = self.body.frame().await?.ok()?.into_data() {
                self.begun.extend_from_slice(&data);
            }
        }
    }
}

/// A file that arrives bit by bit.
#[derive(Debug)]
pub(crate) struct Pieces {
    headers: HeaderMap,
    body: Incoming,
    _driver: Driver,
}

impl Pieces {
    /// What a header says, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    }

    /// The next piece; none at the end of the conversation.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Ok(data) = self.body.frame().await?.ok()?.into_data() {
                return Some(data);
            }
        }
    }
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
