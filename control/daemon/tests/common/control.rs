//! The control process as its own program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_control_api::{Failure, Progress, Status, WatchEvent, WatchKind};

use super::eventually;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-control");

/// A running control process. Dropping it kills it.
#[derive(Debug)]
pub struct Control {
    child: Child,
    directory: PathBuf,
}

impl Control {
    /// Starts it and waits until it listens.
    pub fn start(directory: &Path, args: &[&str]) -> Control {
        Control::start_by(Command::new(PROGRAM), directory, args)
    }

    /// Starts it by a command that ends as the program, and waits until it listens.
    pub fn start_by(mut command: Command, directory: &Path, args: &[&str]) -> Control {
        let child =
            command.arg("--dir").arg(directory).args(args).stdin(Stdio::null()).spawn().unwrap();
        let control = Control { child, directory: directory.into() };
        eventually("the control process listens", || {
            UnixStream::connect(control.socket()).is_ok().then_some(())
        });
        control
    }

    /// Starts it with a file of this content in its directory.
    pub fn with_config(directory: &Path, text: &str, args: &[&str]) -> Control {
        let file = directory.join("router.yaml");
        std::fs::write(&file, text).unwrap();
        Control::start(directory, &[&["--config", file.to_str().unwrap()], args].concat())
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What happens from now on.
    pub fn watch(&self, query: &str) -> Watch {
        let stream = self.send("GET", &format!("/v1/watch{query}"), "", "");
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "no head");
        }
        Watch { lines }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Sends a request; the answer is to be read. A failure if nobody takes it.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &str,
    ) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        )?;
        Ok(stream)
    }

    /// Sends a request; the answer is to be read.
    pub fn send(&self, method: &str, path: &str, body: &str, headers: &str) -> UnixStream {
        self.try_send(method, path, body, headers).unwrap()
    }

    /// One request; the answer's code and JSON.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = self.send(method, path, body, "");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let _ = stream.shutdown(Shutdown::Both);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// A request that succeeds.
    pub fn done<T: DeserializeOwned>(&self, method: &str, path: &str, body: &str) -> T {
        let (code, answer) = self.request(method, path, body);
        assert_eq!(code, 200, "{method} {path}: {answer}");
        serde_json::from_value(answer).unwrap()
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.done("GET", path, "")
    }

    /// A request that fails with this code.
    pub fn fails(&self, code: u16, method: &str, path: &str, body: &str) -> Failure {
        let (found, answer) = self.request(method, path, body);
        assert_eq!(found, code, "{method} {path}: {answer}");
        serde_json::from_value(answer).unwrap()
    }

    /// Waits until the dataplane is as desired; the generation.
    pub fn committed(&self) -> u64 {
        eventually("the desired state is committed", || {
            match self.get::<Status>("/v1/status").progress {
                Progress::Committed { generation } => Some(generation),
                _ => None,
            }
        })
    }

    /// Waits until the dataplane runs this generation.
    pub fn reaches(&self, wanted: u64) -> u64 {
        eventually(&format!("generation {wanted} is committed"), || {
            match self.get::<Status>("/v1/status").progress {
                Progress::Committed { generation } if generation == wanted => Some(generation),
                _ => None,
            }
        })
    }

    /// Waits until the dataplane refused what is desired; its reasons.
    pub fn refused(&self) -> Vec<String> {
        eventually("the desired state is refused", || {
            match self.get::<Status>("/v1/status").progress {
                Progress::Refused { details, .. } => Some(details),
                _ => None,
            }
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader of events.
#[derive(Debug)]
pub struct Watch {
    lines: BufReader<UnixStream>,
}

impl Watch {
    /// The next event; none when there are no more.
    pub fn next(&mut self) -> Option<WatchKind> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // Sizes of chunks and empty lines stand between the events.
            if line.starts_with('{') {
                let event: WatchEvent = serde_json::from_str(&line).unwrap();
                return Some(event.event);
            }
        }
    }

    /// The next event that is wanted.
    pub fn until<T>(&mut self, what: &str, wanted: impl Fn(&WatchKind) -> Option<T>) -> T {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("no more events, never: {what}"));
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }
}
