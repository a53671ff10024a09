//! Follows routes of the kernel: what routing daemons (BIRD, FRR, a DHCP client) write into the
//! kernel's tables become routes of the owners `kernel`, `bgp`, `ospf` and `dhcp`.
//!
//! It is asked for in the configuration (`kernel-routes`), and works in the network namespace of this
//! process. The kernel is listened to first and then asked for everything, so that nothing is missed in
//! between; from then on changes are followed, those of a moment together as one commit. Whenever it is
//! not certain what there is, everything is asked for anew: when the kernel had to drop messages, when
//! links or addresses change, which takes routes along in silence, after a commit of somebody else that
//! was not about routes.
//!
//! What is asked for is compared with what is committed, and what has gone is removed in the same
//! commit as what is new is set. So routes that were learnt stay in use while this process is not there,
//! or knows nothing yet.
//!
//! * `socket` speaks rtnetlink(7); `table` is what the kernel has, and what that means here; `work`
//!   compares it with the last commit.

mod socket;
mod table;
mod work;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use netlink_packet_core::NetlinkPayload;
use sluice_control_api::{CommitKind, Progress};
use sluice_policy::config::KernelRoutes;
use sluice_policy::model::{Route, RouteKey};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use self::table::{News, Place, Table};
pub(crate) use self::work::{Learnt, work_out};
use crate::app::App;
use crate::change::{Change, Order};
use crate::error::ControlError;
use crate::view::View;

/// For how long changes are gathered: a daemon seldom writes one route alone.
const GATHER: Duration = Duration::from_millis(50);
/// How long it is waited before everything is asked for, should more be the matter.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it is waited after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Who made the commits.
const AUTHOR: &str = "kernel-routes";

/// Follows the kernel's routes until the process stops.
pub(crate) async fn follow(app: App) {
    let following = async {
        let mut swept = false;
        loop {
            if let Err(error) = session(&app, &mut swept).await {
                tracing::error!("routes of the kernel cannot be followed: {error}");
                sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        () = app.stopped() => {}
        () = following => {}
    }
}

/// The tables that are to be followed.
fn followed(view: &View) -> &[KernelRoutes] {
    &view.head.header.kernel_routes
}

/// Follows the tables that are to be followed now, until others are. Where none are, what was learnt
/// earlier is removed, once: to look for it is a walk over all routes.
async fn session(app: &App, swept: &mut bool) -> io::Result<()> {
    let mut views = app.views();
    let live = |view: &Arc<View>| matches!(view.progress, Progress::Committed { .. });
    let has_work = |view: &Arc<View>| live(view) && !(followed(view).is_empty() && *swept);
    let Ok(view) = views.wait_for(has_work).await.map(|view| Arc::clone(&view)) else {
        // Nothing is published any more: the process stops.
        return std::future::pending().await;
    };
    let wanted = followed(&view).to_vec();
    *swept = wanted.is_empty();
    if *swept {
        let learnt = |(key, route): (&RouteKey, &Route)| work::is_learnt(key, route);
        let some = view.head.state().routes.iter().any(learnt);
        let none = Learnt { whole: true, ..Learnt::default() };
        if some && !learn(app, none).await {
            *swept = false;
            sleep(RETRY).await;
        }
        return Ok(());
    }
    // A session is long, and a large state is not to be kept for it.
    drop(view);
    tracing::info!("following routes of the kernel: {}", words(&wanted));
    Session::open(app, wanted)?.run(&mut views).await
}

fn words(followed: &[KernelRoutes]) -> String {
    let word = |routes: &KernelRoutes| {
        let KernelRoutes { table, instance, into, .. } = routes;
        format!("table {table} into {into} of {instance}")
    };
    followed.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Has a change committed; whether it was.
async fn learn(app: &App, learnt: Learnt) -> bool {
    let order = Order { author: AUTHOR.into(), ..Order::default() };
    match app.change(Change::Learnt(learnt), order).await {
        Ok(_) => true,
        // It is said elsewhere that there is no dataplane.
        Err(ControlError::NoDataplane(_) | ControlError::NotCommitted(_) | ControlError::Busy) => {
            false
        }
        Err(error) => {
            tracing::warn!("routes of the kernel are not taken over: {}", error.failure());
            false
        }
    }
}

/// The tables that are followed, and what is known of them.
struct Session<'a> {
    app: &'a App,
    wanted: Vec<KernelRoutes>,
    changes: mpsc::Receiver<io::Result<Vec<u8>>>,
    table: Table,
    /// Where something has changed.
    dirty: BTreeSet<Place>,
    /// When that is to be committed.
    due: Option<Instant>,
    /// When everything is to be asked for.
    renew: Option<Instant>,
    /// The last commit that was looked at.
    seen: u64,
}

impl<'a> Session<'a> {
    fn open(app: &'a App, wanted: Vec<KernelRoutes>) -> io::Result<Session<'a>> {
        Ok(Session {
            app,
            wanted,
            changes: socket::listen()?,
            table: Table::default(),
            dirty: BTreeSet::new(),
            due: None,
            renew: Some(Instant::now()),
            seen: app.view().head.generation(),
        })
    }

    async fn run(&mut self, views: &mut watch::Receiver<Arc<View>>) -> io::Result<()> {
        loop {
            let next = match (self.due, self.renew) {
                (Some(due), Some(renew)) => Some(due.min(renew)),
                (due, renew) => due.or(renew),
            };
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = sleep_until(next) => self.commit().await?,
                heard = self.changes.recv() => match heard {
                    Some(Ok(datagram)) => self.hear(&datagram),
                    Some(Err(error)) if socket::is_overrun(&error) => {
                        tracing::info!(
                            "the kernel had more news of routes than could wait: all are asked for"
                        );
                        self.ask_again(Instant::now());
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
                changed = views.changed() => {
                    if changed.is_err() || !self.look(&views.borrow_and_update().clone()) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Everything is to be asked for at that time.
    fn ask_again(&mut self, at: Instant) {
        self.renew = Some(self.renew.map_or(at, |other| other.min(at)));
    }

    fn hear(&mut self, datagram: &[u8]) {
        for message in socket::messages(datagram) {
            let NetlinkPayload::InnerMessage(inner) = &message.payload else { continue };
            match self.table.hear(message.header.flags, inner) {
                News::Nothing => {}
                News::At(place) => {
                    if self.wanted.iter().any(|source| source.table == place.0) {
                        self.dirty.insert(place);
                        self.due.get_or_insert_with(|| Instant::now() + GATHER);
                    }
                }
                News::Unknown => self.ask_again(Instant::now() + PAUSE),
            }
        }
    }

    /// Looks at what was committed; says whether it is still these tables that are to be followed.
    fn look(&mut self, view: &View) -> bool {
        let generation = view.head.generation();
        if generation != self.seen {
            self.seen = generation;
            // What routes mean may have changed, or those that were learnt are as they were earlier.
            if !matches!(view.head.header.kind, CommitKind::Route { .. }) {
                self.ask_again(Instant::now());
            }
        }
        followed(view) == self.wanted
    }

    /// Has what is due committed.
    async fn commit(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let view = self.app.view();
        let policy = &view.head.policy;
        let learnt = if self.renew.is_some_and(|renew| renew <= now) {
            let snapshot = tokio::task::spawn_blocking(socket::snapshot).await??;
            self.table = Table::new(snapshot);
            let routes = self.table.all(&self.wanted, policy);
            Learnt { routes, whole: true }
        } else {
            let routes = self.table.meaning(&self.dirty, &self.wanted, policy);
            Learnt { routes, whole: false }
        };
        (self.dirty, self.due) = (BTreeSet::new(), None);
        if learnt.whole {
            self.renew = None;
        }
        if !learn(self.app, learnt).await {
            self.ask_again(Instant::now() + RETRY);
        }
        Ok(())
    }
}
