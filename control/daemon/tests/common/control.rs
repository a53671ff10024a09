//! The control process as its own program.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_control_api::{Failure, Progress, Status};

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
        let child = Command::new(PROGRAM)
            .arg("--dir")
            .arg(directory)
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
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

    /// One request; the answer's code and JSON.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
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
