//! Why a command failed, in words that say what to do next.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use sluice_control_api::Failure;
use sluice_policy::config::Diagnostics;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The configuration is wrong; each mistake is a line of its own.
    #[error("{0}")]
    Config(Diagnostics),
    /// There is no control process.
    #[error(
        "no control process answers at {}: {source}. Start the appliance with `sluice up -c FILE`, \
         or name its directory with --dir, --name or SLUICE_DIR",
        socket.display()
    )]
    NotRunning { socket: PathBuf, source: io::Error },
    /// The socket belongs to somebody else.
    #[error(
        "not permitted to open {}: run the command as the user that started the appliance \
         (usually root: sudo sluice …)",
        .0.display()
    )]
    NotPermitted(PathBuf),
    /// The conversation broke off.
    #[error(
        "the control process at {} broke off: {reason}. `sluice show status` says whether it is \
         back, and `sluice commits` what took effect",
        socket.display()
    )]
    Conversation { socket: PathBuf, reason: String },
    /// The control process speaks another dialect.
    #[error(
        "the control process's answer is not understood ({0}): run both from the same release, or \
         use --json"
    )]
    Answer(serde_json::Error),
    /// The control process said no.
    #[error("{failure}")]
    Refused {
        /// The exit code that goes with it.
        code: u8,
        /// What it said.
        failure: Failure,
    },
    /// A request that cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The router has no way to a destination.
    #[error("no packet of the router's own gets to {dst}: {why}")]
    Nowhere { dst: IpAddr, why: String },
    /// Some assertions do not hold.
    #[error("{failed} of {of} tests failed")]
    Tests { failed: usize, of: usize },
    /// `sluice up` could not do its work.
    #[error("{0}")]
    Up(String),
    /// Standard output is gone or full.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Exit codes; `help::EXIT_CODES` says what they mean.
pub(crate) const FAILED: u8 = 1;
const USAGE: u8 = 2;
const ELSE: u8 = 3;
const NOBODY: u8 = 4;

impl Failed {
    /// What the control process refused with this HTTP status.
    pub(crate) fn refused(status: StatusCode, failure: Failure) -> Failed {
        let code = match status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => ELSE,
            StatusCode::SERVICE_UNAVAILABLE => NOBODY,
            _ => FAILED,
        };
        Failed::Refused { code, failure }
    }

    /// The exit code of the command.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failed::Usage(_) => USAGE,
            Failed::Refused { code, .. } => *code,
            Failed::Nowhere { .. } => ELSE,
            Failed::NotRunning { .. } | Failed::NotPermitted(_) | Failed::Conversation { .. } => {
                NOBODY
            }
            _ => FAILED,
        }
    }

    /// The error of a socket that cannot be connected to.
    pub(crate) fn connecting(socket: &Path, source: io::Error) -> Failed {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Failed::NotPermitted(socket.into()),
            _ => Failed::NotRunning { socket: socket.into(), source },
        }
    }

    /// The error as the JSON that the control process would have answered with.
    pub(crate) fn to_failure(&self) -> Failure {
        match self {
            Failed::Refused { failure, .. } => failure.clone(),
            Failed::Config(diagnostics) => Failure {
                error: "the configuration is wrong".into(),
                details: diagnostics.0.iter().map(ToString::to_string).collect(),
                ..Failure::default()
            },
            other => Failure { error: other.to_string(), ..Failure::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_socket_says_what_to_do() {
        let socket = Path::new("/run/sluice/sluice/control.sock");
        let text = Failed::connecting(socket, io::ErrorKind::NotFound.into()).to_string();
        assert!(text.contains("/run/sluice/sluice/control.sock"), "{text}");
        assert!(text.contains("sluice up -c FILE"), "{text}");
        let text = Failed::connecting(socket, io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(text.contains("sudo"), "{text}");
    }

    #[test]
    fn every_exit_code_is_documented() {
        let documented: Vec<u8> = crate::help::EXIT_CODES.iter().map(|(code, _)| *code).collect();
        let refused = |status| Failed::refused(status, Failure::default()).code();
        let socket = Path::new("/run/sluice/sluice/control.sock");
        let codes = [
            refused(StatusCode::BAD_REQUEST),
            refused(StatusCode::INSUFFICIENT_STORAGE),
            Failed::Usage(String::new()).code(),
            refused(StatusCode::NOT_FOUND),
            refused(StatusCode::CONFLICT),
            refused(StatusCode::SERVICE_UNAVAILABLE),
            Failed::connecting(socket, io::ErrorKind::NotFound.into()).code(),
        ];
        assert_eq!(codes, [1, 1, 2, 3, 3, 4, 4]);
        assert!(codes.iter().all(|code| documented.contains(code)));
    }
}
