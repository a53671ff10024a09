//! One of the two processes that `sluice up` looks after.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::cores::Cores;
use super::respawn::{Next, Respawn};
use crate::failed::Failed;

/// A program, its arguments, and the process that runs it at present.
///
/// Children are asked to die with the thread that started them (`--die-with-parent`,
/// `PR_SET_PDEATHSIG`), so that nothing stays behind when `sluice up` is killed: they must be
/// started by the main thread.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    /// The cores, for a child that may use all of them; others stay off those of the workers.
    cores: Option<Cores>,
    process: Option<tokio::process::Child>,
    respawn: Respawn,
    due: Option<Instant>,
}

impl Child {
    /// The program `name` that lies beside this executable, to be [started](Child::start).
    pub(super) fn new(name: &'static str, args: Vec<OsString>) -> Result<Child, Failed> {
        let here = std::env::current_exe()
            .map_err(|error| Failed::Up(format!("cannot find this program's own file: {error}")))?;
        let program = here.parent().unwrap_or(Path::new("/")).join(name);
        if !program.is_file() {
            return Err(Failed::Up(format!(
                "there is no {}; it must lie beside the `sluice` program",
                program.display()
            )));
        }
        let respawn = Respawn::new(Instant::now());
        Ok(Child { name, program, args, cores: None, process: None, respawn, due: None })
    }

    /// The same with all cores to itself, those of the workers too.
    pub(super) fn on_all(self, cores: Cores) -> Child {
        Child { cores: Some(cores), ..self }
    }

    /// The program's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The id of the process that runs it at present, if one does.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(tokio::process::Child::id)
    }

    /// Starts it.
    pub(super) fn start(&mut self) -> Result<(), Failed> {
        // A group of its own: Ctrl-C at the terminal reaches `sluice up` alone, which stops both.
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let process = match self.cores {
            Some(cores) => cores.with_all(|| command.spawn()),
            None => command.spawn(),
        };
        self.process = Some(process.map_err(|error| {
            Failed::Up(format!("cannot start {}: {error}", self.program.display()))
        })?);
        self.respawn.started(Instant::now());
        self.due = None;
        Ok(())
    }

    /// Waits until it ends, or, after [`Child::died`], until it is started again.
    pub(super) async fn wait(&mut self) -> Result<Option<ExitStatus>, Failed> {
        if let Some(process) = &mut self.process {
            let status = process
                .wait()
                .await
                .map_err(|error| Failed::Up(format!("cannot wait for {}: {error}", self.name)))?;
            self.process = None;
            return Ok(Some(status));
        }
        match self.due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
        self.start()?;
        Ok(None)
    }

    /// Plans its next start after it ended; `false` if it is given up.
    pub(super) fn died(&mut self, ready: bool) -> bool {
        let now = Instant::now();
        match self.respawn.died(now, ready) {
            Next::After(pause) => self.due = Some(now + pause),
            Next::GiveUp => self.due = None,
        }
        self.due.is_some()
    }

    /// Asks it to stop, for good.
    pub(super) fn stop(&mut self) {
        self.due = None;
        self.signal(Signal::TERM);
    }

    /// Sends it a signal, if it runs.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // The process is not waited for yet, so that the id is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for the end of a child that was asked to stop, and kills it at the deadline.
    /// Returns whether it had to be killed.
    pub(super) async fn reap(&mut self, deadline: Instant) -> io::Result<bool> {
        let Some(mut process) = self.process.take() else { return Ok(false) };
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match tokio::time::timeout(left, process.wait()).await {
            Ok(ended) => ended.map(|_| false),
            Err(_) => process.kill().await.map(|()| true),
        }
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}
