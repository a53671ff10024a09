//! The process without its command line: start, serve, stop.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use sluice_control_api::SOCKET;
use sluice_policy::config::{self, Diagnostics};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::app::App;
use crate::change::{Change, FileChange, Order};
use crate::error::ControlError;
use crate::events::Events;
use crate::head::Head;
use crate::http::{self, Peer};
use crate::kernel;
use crate::lock::{DirectoryLock, LockError};
use crate::reconciler::Reconciler;
use crate::store::{FileRead, Store};
use crate::watchdog::{self, Health};

/// The lock file of the directory in which it meets the dataplane.
const LOCK: &str = "control.lock";

/// How many requests may wait for the dataplane.
const WAITING: usize = 64;

/// How the process is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory in which it meets the dataplane.
    pub directory: PathBuf,
    /// The directory with what was committed.
    pub state: PathBuf,
    /// The configuration file to apply, unless it is as it was when it was last read.
    pub config: Option<PathBuf>,
}

/// Why the process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The directory cannot be made.
    #[error("cannot make the directory {}: {source}; name another with --dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The directory is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The configuration file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The configuration file is wrong.
    #[error("{0}")]
    Config(Diagnostics),
    /// The socket cannot be had.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The thread that talks to the dataplane cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The server failed.
    #[error("the server at {} failed: {source}", path.display())]
    Serve {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// A control process that listens.
#[derive(Debug)]
pub struct Service {
    listener: UnixListener,
    socket: PathBuf,
    app: App,
    config: Option<PathBuf>,
    stopping: watch::Sender<bool>,
    reconciler: JoinHandle<()>,
    // Given back last, after the socket is gone.
    lock: DirectoryLock,
}

impl Service {
    /// Takes the directory, reads the configuration, and starts to reconcile. Must be called
    /// within a runtime.
    pub fn start(options: &Options) -> Result<Service, ServiceError> {
        let directory = &options.directory;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|source| ServiceError::Directory { path: directory.clone(), source })?;
        let lock = DirectoryLock::acquire(directory, LOCK)?;
        let loaded = Store::open(&options.state)?;
        let mut notes = Vec::new();
        let wanted = match &options.config {
            Some(path) => wanted(path, &loaded.head, &mut notes)?,
            None => None,
        };
        let socket = directory.join(SOCKET);
        let listener = listen(&socket)
            .map_err(|source| ServiceError::Listen { path: socket.clone(), source })?;
        let (requests, waiting) = sync_channel(WAITING);
        let events = Events::new();
        let (reconciler, view) =
            Reconciler::new(directory.clone(), loaded, wanted, notes, events.clone());
        let reconciler = std::thread::Builder::new()
            .name("reconciler".into())
            .spawn(move || reconciler.run(&waiting))
            .map_err(ServiceError::Thread)?;
        let (healthy, health) = watch::channel(Health::default());
        tokio::spawn(watchdog::watch(view.clone(), healthy, events.clone()));
        let (stopping, stops) = watch::channel(false);
        let app = App::new(view, requests, events, health, stops);
        tokio::spawn(kernel::follow(app.clone()));
        let config = options.config.clone();
        Ok(Service { listener, socket, app, config, stopping, reconciler, lock })
    }

    /// The way to apply the configuration file again, as it is then.
    pub fn reload(&self) -> Reload {
        Reload { app: self.app.clone(), config: self.config.clone() }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Answers requests until `stop` is ready. The dataplane forwards on.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServiceError> {
        let Service { listener, socket, app, stopping, reconciler, lock, .. } = self;
        let stop = async move {
            stop.await;
            // Whoever watches would otherwise keep us.
            stopping.send_replace(true);
        };
        let service = http::router(app).into_make_service_with_connect_info::<Peer>();
        let served = axum::serve(listener, service).with_graceful_shutdown(stop).await;
        // Whoever connects from now on finds nothing, rather than a socket that does not answer.
        let _ = std::fs::remove_file(&socket);
        // The last sender of requests is gone with the router: the thread ends.
        let _ = tokio::task::spawn_blocking(move || reconciler.join()).await;
        drop(lock);
        served.map_err(|source| ServiceError::Serve { path: socket, source })
    }
}

/// Applies the configuration file again.
#[derive(Clone, Debug)]
pub struct Reload {
    app: App,
    config: Option<PathBuf>,
}

impl Reload {
    /// Applies the configuration file as it is now. What comes of it is logged.
    pub async fn apply(&self) {
        let Some(path) = self.config.clone() else {
            return tracing::warn!("there is no configuration file to read again");
        };
        let name = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || {
            let content = load(&path).map_err(|error| error.to_string())?;
            parse(&path, &content).map_err(|error| error.to_string())
        });
        let file = match read.await {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return tracing::error!("nothing changed: {error}"),
            Err(_) => return,
        };
        let order = Order::own(Some("read again on SIGHUP".into()));
        match self.app.change(Change::File(file.into()), order).await {
            Ok(applied) => tracing::info!("{name} was read again: {}", applied.changes),
            Err(error) => report(&name, &error),
        }
    }
}

fn report(name: &str, error: &ControlError) {
    tracing::error!("{name} was read again: {}", error.failure());
}

/// The file to apply: none when it is as it was when it was last read, so that what was changed
/// since stays. Where there is an earlier commit, a file that is wrong is no reason to do nothing.
fn wanted(
    path: &Path,
    head: &Head,
    notes: &mut Vec<String>,
) -> Result<Option<FileChange>, ServiceError> {
    let name = path.display();
    let read = load(path).and_then(|content| {
        let unchanged =
            fingerprint(path, &content).is_some_and(|read| head.header.files.contains(&read));
        if unchanged { Ok(None) } else { parse(path, &content).map(Some) }
    });
    match read {
        Ok(None) => {
            tracing::info!(
                "{name} is as it was when it was last read: generation {} stays; `sluice apply \
                 {name}` would apply it",
                head.generation()
            );
            Ok(None)
        }
        Ok(file) => Ok(file),
        Err(error) if head.generation() == 0 => Err(error),
        Err(error) => {
            let note = format!(
                "{name} was not applied, generation {} stays: {error}; `sluice apply {name}` \
                 tries again",
                head.generation()
            );
            tracing::error!("{note}");
            notes.push(note);
            Ok(None)
        }
    }
}

fn load(path: &Path) -> Result<Vec<u8>, ServiceError> {
    std::fs::read(path).map_err(|source| ServiceError::Read { path: path.into(), source })
}

fn fingerprint(path: &Path, content: &[u8]) -> Option<FileRead> {
    FileRead::of(&std::path::absolute(path).ok()?, content)
}

fn parse(path: &Path, content: &[u8]) -> Result<FileChange, ServiceError> {
    let name = path.display().to_string();
    let configuration = config::read(content, &name).map_err(ServiceError::Config)?;
    Ok(FileChange { name: name.into(), read: fingerprint(path, content), configuration })
}

/// Listens for the owner alone. Called with the directory's lock held, so that a socket that is
/// there is a dead process's.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
