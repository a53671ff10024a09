//! `sluice up`: both processes in the foreground.
//!
//! The configuration is checked before anything starts. A dataplane that dies is started again
//! at once and gets its policy from the control process; a control process that dies is started
//! again and goes on from its commits, so that live changes survive either. SIGHUP has the file
//! read again. Whatever happens, both end with this process.

mod child;
mod cores;
mod reload;
mod respawn;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_control_api::{Failure, Port, Progress, Status};
use sluice_policy::config::{Configuration, Dataplane};
use tokio::signal::unix::{self, SignalKind};

use self::child::{Child, describe};
use self::cores::Cores;
use self::reload::Reload;
use crate::args::{Appliance, LogFormat, Up};
use crate::check;
use crate::client::Client;
use crate::failed::{FAILED, Failed};

/// How often the control process is asked whether the first commit stands.
const POLL: Duration = Duration::from_millis(50);
/// How long the first commit may take: hugepages are zeroed, devices start.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long `ready` waits for links to come up; a cable may be out.
const LINK_PATIENCE: Duration = Duration::from_secs(3);
/// How long the children have to drain and give the interfaces back. All ends within 10 s.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// Runs the appliance until it is told to stop.
pub(crate) async fn run(appliance: &Appliance, options: &Up) -> Result<(), Failed> {
    if options.config == Path::new("-") {
        let text = "`sluice up` reads the configuration again later: standard input cannot be";
        return Err(Failed::Usage(text.into()));
    }
    let mut signals = Signals::new()?;
    let configuration = check::read(&options.config)?;
    let directory = appliance.directory();
    std::fs::create_dir_all(&directory).map_err(|error| {
        Failed::Up(format!(
            "cannot make the directory {}: {error}; name another with --dir",
            directory.display()
        ))
    })?;
    let mut supervisor = Supervisor::start(appliance, &directory, options, &configuration)?;
    let client = Client::new(&directory);
    let reload = Reload::new(client.clone());
    let outcome = supervisor.supervise(client, &mut signals, reload).await;
    supervisor.stop().await;
    outcome
}

/// The signals that mean something; from here on they do not end the process by themselves.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failed> {
        let handler = |kind| {
            unix::signal(kind)
                .map_err(|error| Failed::Up(format!("cannot handle signals: {error}")))
        };
        Ok(Signals {
            interrupt: handler(SignalKind::interrupt())?,
            terminate: handler(SignalKind::terminate())?,
            hangup: handler(SignalKind::hangup())?,
        })
    }
}

impl LogFormat {
    /// Says something beside what the children log.
    fn say(self, message: &str) {
        match self {
            LogFormat::Text => eprintln!("sluice: {message}"),
            LogFormat::Json => {
                eprintln!("{}", serde_json::json!({ "level": "WARN", "message": message }));
            }
        }
    }
}

struct Supervisor {
    dataplane: Child,
    control: Child,
    log: LogFormat,
    /// Whether the first commit stood: from then on a dead child is always started again.
    ready: bool,
}

impl Supervisor {
    fn start(
        appliance: &Appliance,
        directory: &Path,
        options: &Up,
        configuration: &Configuration,
    ) -> Result<Supervisor, Failed> {
        let cores = Cores::leave_to(&configuration.dataplane.cores);
        let dataplane_args =
            dataplane_args(appliance, directory, options, &configuration.dataplane);
        let mut dataplane = Child::new("sluice-dataplane", dataplane_args)?.on_all(cores);
        let state = options.state.clone().unwrap_or_else(|| appliance.state());
        let control_args = control_args(directory, &state, options);
        let mut control = Child::new("sluice-control", control_args)?;
        dataplane.start()?;
        control.start()?;
        Ok(Supervisor { dataplane, control, log: options.log_format, ready: false })
    }

    async fn supervise(
        &mut self,
        client: Client,
        signals: &mut Signals,
        mut reload: Reload,
    ) -> Result<(), Failed> {
        let ready = wait_until_ready(client.clone());
        tokio::pin!(ready);
        loop {
            tokio::select! {
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.hangup.recv() => reload.ask(),
                process = reload.due(), if self.ready => {
                    if self.control.id() == Some(process) {
                        self.control.signal(Signal::HUP);
                    } else {
                        reload.ask();
                    }
                }
                ended = self.dataplane.wait() => {
                    if let Some(status) = ended? {
                        bury(&mut self.dataplane, status, self.ready, self.log)?;
                    }
                }
                ended = self.control.wait() => {
                    if let Some(status) = ended? {
                        bury(&mut self.control, status, self.ready, self.log)?;
                    }
                }
                answer = &mut ready, if !self.ready => {
                    let (control, line) = answer?;
                    if self.control.id() != Some(control) {
                        // Another appliance's: ours is about to be refused the directory.
                        ready.set(wait_until_ready(client.clone()));
                        continue;
                    }
                    self.ready = true;
                    let mut output = std::io::stdout().lock();
                    // Nobody may be reading; the appliance runs all the same.
                    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
                }
            }
        }
    }

    /// Stops both. They get the whole patience together, not one after the other.
    async fn stop(&mut self) {
        let deadline = Instant::now() + STOP_PATIENCE;
        for child in [&mut self.control, &mut self.dataplane] {
            child.stop();
        }
        for child in [&mut self.control, &mut self.dataplane] {
            match child.reap(deadline).await {
                Ok(false) => {}
                Ok(true) => self.log.say(&format!("{} did not stop and was killed", child.name())),
                Err(error) => self.log.say(&format!("cannot wait for {}: {error}", child.name())),
            }
        }
    }
}

/// Plans the restart of a child that ended, or gives up.
///
/// Before the appliance was ever ready an exit code means that the child said no and why: not
/// root, no memory, another one is running. Starting it again would only say so again.
fn bury(child: &mut Child, status: ExitStatus, ready: bool, log: LogFormat) -> Result<(), Failed> {
    let name = child.name();
    let how = describe(status);
    if !ready && status.code().is_some() {
        return Err(Failed::Up(format!("{name} {how} before the appliance was ready; see above")));
    }
    if !child.died(ready) {
        return Err(Failed::Up(format!("{name} {how} again and again at the start: given up")));
    }
    log.say(&format!("{name} {how}; starting it again"));
    Ok(())
}

/// Waits for the first commit; an error if the dataplane refused it. Returns the process id of the
/// control process that answered, and the line that says so.
async fn wait_until_ready(client: Client) -> Result<(u32, String), Failed> {
    let deadline = Instant::now() + START_PATIENCE;
    let mut waits_for = "the control process does not answer".to_owned();
    let (control, generation) = loop {
        tokio::time::sleep(POLL).await;
        match client.get::<Status>("/v1/status").await {
            Ok(Status { pid, progress: Progress::Committed { generation }, .. }) => {
                break (pid, generation);
            }
            Ok(Status { progress: Progress::Refused { details, .. }, .. }) => {
                let error = "the dataplane refused the configuration".into();
                return Err(Failed::Refused {
                    code: FAILED,
                    failure: Failure { error, details, ..Failure::default() },
                });
            }
            Ok(Status { progress: Progress::Waiting { reason }, .. }) => waits_for = reason,
            Err(Failed::NotRunning { .. } | Failed::Conversation { .. }) => {}
            Err(failed) => return Err(failed),
        }
        if Instant::now() >= deadline {
            let seconds = START_PATIENCE.as_secs();
            return Err(Failed::Up(format!("not ready after {seconds} s: {waits_for}")));
        }
    };
    let ports = wait_for_links(&client).await?;
    Ok((control, ready_line(&ports, generation)))
}

async fn wait_for_links(client: &Client) -> Result<Vec<Port>, Failed> {
    let deadline = Instant::now() + LINK_PATIENCE;
    loop {
        let ports: Vec<Port> = client.get("/v1/ports").await?;
        if ports.iter().all(|port| port.link) || Instant::now() >= deadline {
            return Ok(ports);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn ready_line(ports: &[Port], generation: u64) -> String {
    let plural = if ports.len() == 1 { "" } else { "s" };
    let down: Vec<&str> = ports.iter().filter(|port| !port.link).map(|port| &*port.name).collect();
    let down = match down.as_slice() {
        [] => String::new(),
        names => format!(" (no link: {})", names.join(", ")),
    };
    format!("sluice: ready, {} port{plural}{down}, generation {generation}", ports.len())
}

fn dataplane_args(
    appliance: &Appliance,
    directory: &Path,
    options: &Up,
    dataplane: &Dataplane,
) -> Vec<OsString> {
    let cores: Vec<String> = dataplane.cores.iter().map(ToString::to_string).collect();
    let limits = &dataplane.limits;
    let mut args: Vec<OsString> = vec!["--dir".into(), directory.into()];
    for (flag, value) in [
        ("--name", appliance.name.clone()),
        ("--cores", cores.join(",")),
        ("--memory", dataplane.memory.to_string()),
        ("--max-ports", limits.ports.to_string()),
        ("--max-rules", limits.rules.to_string()),
        ("--max-neighbours", limits.neighbours.to_string()),
        ("--max-flows", limits.flows.to_string()),
        ("--log", options.log.clone()),
        ("--log-format", options.log_format.name().to_owned()),
    ] {
        args.extend([flag.into(), value.into()]);
    }
    args.push("--die-with-parent".into());
    args
}

fn control_args(directory: &Path, state: &Path, options: &Up) -> Vec<OsString> {
    vec![
        "--dir".into(),
        directory.into(),
        "--state".into(),
        state.into(),
        "--config".into(),
        options.config.clone().into(),
        "--log".into(),
        options.log.clone().into(),
        "--log-format".into(),
        options.log_format.name().into(),
        "--die-with-parent".into(),
    ]
}

#[cfg(test)]
mod tests;
