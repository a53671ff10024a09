//! The process without its command line: start, serve, stop.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use sluice_control_api::SOCKET;
use sluice_policy::config::{self, Diagnostics};
use tokio::net::UnixListener;

use crate::app::App;
use crate::desired::Desired;
use crate::http;
use crate::lock::{DirectoryLock, LockError};
use crate::reconciler::{Origin, Reconciler};

/// How many requests may wait for the dataplane.
const WAITING: usize = 64;

/// How the process is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory in which it meets the dataplane.
    pub directory: PathBuf,
    /// The configuration file that says what is desired.
    pub config: Option<PathBuf>,
    /// Whether what a running dataplane does goes before the file.
    pub adopt: bool,
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
    /// The configuration makes no sense as a whole.
    #[error("{}", .0.join("\n"))]
    Policy(Vec<String>),
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
        let configured = match options.config.as_deref().map(read).transpose() {
            Ok(configured) => configured,
            // What runs goes before the file, so that the file need not be in order.
            Err(error) if options.adopt => {
                tracing::warn!("the configuration file is left alone: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        let lock = DirectoryLock::acquire(directory)?;
        let socket = directory.join(SOCKET);
        let listener = listen(&socket)
            .map_err(|source| ServiceError::Listen { path: socket.clone(), source })?;
        let (requests, waiting) = sync_channel(WAITING);
        let origin = Origin { configured, adopt: options.adopt };
        let (reconciler, view) = Reconciler::new(directory.clone(), origin);
        let reconciler = std::thread::Builder::new()
            .name("reconciler".into())
            .spawn(move || reconciler.run(&waiting))
            .map_err(ServiceError::Thread)?;
        Ok(Service { listener, socket, app: App::new(view, requests), reconciler, lock })
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
        let Service { listener, socket, app, reconciler, lock } = self;
        let served = axum::serve(listener, http::router(app)).with_graceful_shutdown(stop).await;
        // Whoever connects from now on finds nothing, rather than a socket that does not answer.
        let _ = std::fs::remove_file(&socket);
        // The last sender of requests is gone with the router: the thread ends.
        let _ = tokio::task::spawn_blocking(move || reconciler.join()).await;
        drop(lock);
        served.map_err(|source| ServiceError::Serve { path: socket, source })
    }
}

fn read(path: &Path) -> Result<Desired, ServiceError> {
    let text =
        std::fs::read(path).map_err(|source| ServiceError::Read { path: path.into(), source })?;
    let name = path.display().to_string();
    let configuration = config::read(&text, &name).map_err(ServiceError::Config)?;
    Desired::configured(name.into(), configuration)
        .map_err(|errors| ServiceError::Policy(errors.iter().map(ToString::to_string).collect()))
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
