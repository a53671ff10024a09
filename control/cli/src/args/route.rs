//! `sluice route`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use sluice_policy::model::Owner;

use super::{Commit, RouteQuestion};

#[derive(Subcommand, Debug)]
pub(crate) enum Route {
    /// Add a route
    ///
    /// `via ADDRESS [dev INTERFACE] [weight N]`, again for each way out, or `dev INTERFACE`, or
    /// `blackhole`, `reject` (unreachable), `prohibit`, or `lookup [INSTANCE] TABLE`.
    #[command(override_usage = "sluice route add PREFIX via ADDRESS [dev INTERFACE] [weight N] \
        [via …]\n       sluice route add PREFIX dev INTERFACE\n       sluice route add PREFIX \
        blackhole|reject|prohibit\n       sluice route add PREFIX lookup [INSTANCE] TABLE")]
    Add(AddRoute),
    /// Remove a route
    Del(DeleteRoute),
    /// Change many routes by a file of operations, one a line (NDJSON), as one commit
    ///
    /// A line is `{"set": {"to": "192.0.2.0/24", "via": "10.0.1.9"}}`, or `delete`, `withdraw`,
    /// `expect` and the others of `POST /v1/transaction`. All of it takes effect, or none.
    Load(LoadRoutes),
    /// Remove all routes of an owner; the next owner's come to light
    Withdraw {
        /// Whose routes
        #[arg(long, value_name = "OWNER")]
        owner: Owner,
        /// Only those of this instance
        #[arg(long)]
        instance: Option<String>,
        /// Only those of tables of this name
        #[arg(long)]
        table: Option<String>,
        #[command(flatten)]
        how: Commit,
    },
    /// Mark all routes of an owner stale, before it sets again what is still true
    ///
    /// They stay in use. One that is set again is not stale any more; `sluice route sweep` removes
    /// the rest.
    Stale {
        /// Whose routes
        #[arg(long, value_name = "OWNER")]
        owner: Owner,
        #[command(flatten)]
        how: Commit,
    },
    /// Remove the routes of an owner that are stale still
    Sweep {
        /// Whose routes
        #[arg(long, value_name = "OWNER")]
        owner: Owner,
        #[command(flatten)]
        how: Commit,
    },
    /// Where a packet would be routed: route, next hop, MTU, source address
    ///
    /// Filters are not asked; `sluice explain` asks them.
    Query(RouteQuestion),
}

#[derive(Args, Debug)]
pub(crate) struct AddRoute {
    /// The destinations it covers
    pub(crate) prefix: String,
    /// Where it leads
    #[arg(required = true, value_name = "TARGET")]
    pub(crate) target: Vec<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Of the routes of one prefix the lowest is used [default: the owner's]
    #[arg(long, value_name = "N")]
    pub(crate) preference: Option<u32>,
    /// Between routes of equal preference the lowest is used
    #[arg(long, value_name = "N")]
    pub(crate) metric: Option<u32>,
    /// A number that means something to the owner alone
    #[arg(long, value_name = "N")]
    pub(crate) tag: Option<u32>,
    /// Take the place of another route of the same owner and prefix
    #[arg(long)]
    pub(crate) replace: bool,
    /// Only in the place of the owner's route that generation N set last
    #[arg(long, value_name = "N", group = "expected")]
    pub(crate) if_generation: Option<u64>,
    /// Only if the owner has no route there
    #[arg(long, group = "expected")]
    pub(crate) if_absent: bool,
    /// Only if the route in use there is this owner's
    #[arg(long, value_name = "OWNER", group = "expected")]
    pub(crate) if_owner: Option<Owner>,
    #[command(flatten)]
    pub(crate) how: Commit,
}

#[derive(Args, Debug)]
pub(crate) struct LoadRoutes {
    /// The file; - reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Remove the owner's other routes: those of the instance and table, if these are given
    #[arg(long)]
    pub(crate) replace: bool,
    /// Change nothing unless this generation is live
    #[arg(long, value_name = "N")]
    pub(crate) generation: Option<u64>,
    #[command(flatten)]
    pub(crate) how: Commit,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteRoute {
    /// The destinations it covers
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only if generation N set the route last
    #[arg(long, value_name = "N", group = "expected")]
    pub(crate) if_generation: Option<u64>,
    /// Only if the route in use there is this owner's
    #[arg(long, value_name = "OWNER", group = "expected")]
    pub(crate) if_owner: Option<Owner>,
    #[command(flatten)]
    pub(crate) how: Commit,
}

/// Where a route stands.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The instance
    #[arg(long)]
    pub(crate) instance: Option<String>,
    /// Which of the instance's tables
    #[arg(long)]
    pub(crate) table: Option<String>,
    /// Whose route it is: dhcp, kernel, bgp, ospf, policy or a name that you make [default: cli]
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Option<Owner>,
}
