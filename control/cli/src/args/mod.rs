//! The command line.

mod capture;
mod flows;
mod hook;
mod questions;
mod route;
mod values;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use sluice_policy::Event;
use sluice_policy::model::Standing;

pub(crate) use self::capture::Capture;
pub(crate) use self::flows::{Flow, ShowFlows, WhichFlows};
pub(crate) use self::hook::{Hook, LoadHook};
pub(crate) use self::questions::{RouteQuestion, Service, Source, Test};
pub(crate) use self::route::{AddRoute, DeleteRoute, LoadRoutes, Place, Route};
use self::values::{appliance_name, icmp, protocol, seconds, state, tcp_flags};

/// A packet-forwarding appliance: a router and firewall on DPDK.
#[derive(Parser, Debug)]
#[command(name = "sluice", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) appliance: Appliance,
    /// Print JSON, as the control process says it
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which appliance is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct Appliance {
    /// Directory of the appliance's sockets [default: /run/sluice/NAME]
    #[arg(
        long,
        global = true,
        env = "SLUICE_DIR",
        value_name = "DIR",
        value_hint = ValueHint::DirPath
    )]
    dir: Option<PathBuf>,
    /// Name of the appliance
    #[arg(long, global = true, default_value = "sluice", value_parser = appliance_name)]
    pub(crate) name: String,
}

impl Appliance {
    /// The directory in which the two processes meet.
    pub(crate) fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| Path::new("/run/sluice").join(&self.name))
    }

    /// The directory in which commits are kept, unless another is named.
    pub(crate) fn state(&self) -> PathBuf {
        match &self.dir {
            Some(dir) => dir.join("state"),
            None => Path::new("/var/lib/sluice").join(&self.name),
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start the appliance in the foreground and keep it running
    Up(Up),
    /// Check a configuration file; nothing needs to run
    Check {
        /// The file; - reads standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make the running appliance as the file says, in one step
    ///
    /// Live routes (`sluice route add`) stay. All of it takes effect between two packets, or none.
    Apply(Apply),
    /// List what took effect, newest first
    Commits {
        /// So many at most
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: u64,
    },
    /// Say what differs between two commits, or between what is live and a file
    Diff {
        /// The commit to start from, or a file to compare what is live with; - reads standard input
        #[arg(value_name = "COMMIT|FILE", value_hint = ValueHint::FilePath)]
        from: Origin,
        /// The commit to compare with [default: the live one]
        #[arg(value_name = "COMMIT")]
        to: Option<u64>,
        /// Say which of the flows in this file would fare otherwise, instead of what differs;
        /// without a file, which of those that the dataplane has now
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1)]
        flows: Option<Option<PathBuf>>,
    },
    /// Bring the state of an earlier commit back, as a new commit
    Rollback {
        /// The commit whose state comes back, as `sluice commits` lists it
        #[arg(value_name = "COMMIT")]
        to: u64,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        how: Commit,
    },
    /// Keep what was changed with --confirm
    Confirm,
    /// Tell what happens while it happens, until it is interrupted
    ///
    /// Commits, links, ports, neighbours, drops above a rate, rules that log, stalls. With --json
    /// one JSON object a line. It outlives the control process: it waits for the next one.
    Watch {
        /// Tell of drop reasons with more packets a second than this
        #[arg(long, value_name = "PACKETS")]
        drops: Option<u64>,
    },
    /// Write packets to a file as they pass, until it is interrupted
    ///
    /// The file (pcapng) is for tcpdump, Wireshark and the like: an interface a description, times in
    /// nanoseconds, and for each packet a comment that says where it was seen, in which instance and, if
    /// it was dropped, why. Forwarding does not wait for it: packets for which there is no room are not
    /// captured, and counted.
    Capture(Capture),
    /// Show what runs
    #[command(subcommand)]
    Show(Show),
    /// Live routes: add, remove and withdraw them by owner; an applied file leaves them alone
    #[command(subcommand)]
    Route(Route),
    /// Hooks: load programs at an event and unload them, while packets flow
    #[command(subcommand)]
    Hook(Hook),
    /// Flows: end them
    #[command(subcommand)]
    Flow(Flow),
    /// Neighbours
    #[command(subcommand)]
    Neighbour(Neighbour),
    /// Say what would happen to a packet, and why
    Explain(Explain),
    /// Say which source address a program on the router must use for a service
    Source(Source),
    /// Check what is expected of a policy: assertions in a file, for people and for CI
    ///
    /// Each test is a packet and what must become of it. Exit code 1 says that one failed.
    Test(Test),
    /// Print the JSON Schema of the configuration file, or of files of tests and flows
    Schema {
        /// That of files of tests and flows
        #[arg(long)]
        tests: bool,
    },
    /// Print what makes a shell complete this command's words
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory, such as /usr/local/share/man/man8; made when it is not there
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// The configuration file; SIGHUP has it read again
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Directory in which commits are kept [default: /var/lib/sluice/NAME, and DIR/state with --dir]
    #[arg(long, env = "SLUICE_STATE", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,
    /// What to log at least
    #[arg(
        long,
        default_value = "info",
        env = "SLUICE_LOG",
        value_name = "LEVEL",
        value_parser = ["error", "warn", "info", "debug", "trace"]
    )]
    pub(crate) log: String,
    /// How to log: lines of text, or an object of JSON a line
    #[arg(long, value_enum, default_value_t, env = "SLUICE_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// The file; - reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Change nothing unless this generation is live
    #[arg(long, value_name = "N")]
    pub(crate) generation: Option<u64>,
    #[command(flatten)]
    pub(crate) how: Commit,
}

/// How to log.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum LogFormat {
    /// Lines of text.
    #[default]
    Text,
    /// An object of JSON a line.
    Json,
}

impl LogFormat {
    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// What goes with every change.
#[derive(Args, Clone, Default, Debug)]
pub(crate) struct Commit {
    /// Why, for `sluice commits`
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Roll it back unless `sluice confirm` comes within this time, such as 60s or 10m
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) confirm: Option<Duration>,
}

/// Where a comparison starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// At a commit; what is all digits is one.
    Generation(u64),
    /// At what is live, compared with this file.
    File(PathBuf),
}

impl From<OsString> for Origin {
    fn from(text: OsString) -> Origin {
        match text.to_str().map(str::parse) {
            Some(Ok(generation)) => Origin::Generation(generation),
            _ => Origin::File(text.into()),
        }
    }
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Show {
    /// The two processes, and whether the dataplane runs what is desired
    Status,
    /// Devices, links and queues
    Ports,
    /// Interfaces and their addresses
    Interfaces,
    /// Routing tables
    Routes {
        /// Only this instance
        #[arg(long)]
        instance: Option<String>,
    },
    /// Link addresses of neighbours
    Neighbours,
    /// Flows that the workers remember: state, age, packets each way, and the way that they take
    Flows(ShowFlows),
    /// Filter rules and how often they matched
    Rules {
        /// Only this instance
        #[arg(long)]
        instance: Option<String>,
    },
    /// Policy routes, whether they have a way out, and how often they matched
    PolicyRoutes {
        /// Only this instance
        #[arg(long)]
        instance: Option<String>,
    },
    /// Hooks and stages in the order in which they run, at each event of each instance
    Hooks {
        /// Only this instance
        #[arg(long)]
        instance: Option<String>,
        /// Only this event
        #[arg(long, value_parser = self::hook::event())]
        event: Option<Event>,
    },
    /// Why packets were dropped
    Drops {
        /// Also reasons that never happened
        #[arg(long)]
        all: bool,
    },
    /// Where every packet went
    Stats,
    /// What a packet passes, in order
    Pipeline,
    /// What the workers' time goes into, by stage and hook
    Runtime {
        /// Over this time from now on, such as 1s, instead of since the dataplane started
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        interval: Option<Duration>,
    },
    /// Worker cores and the queues they poll
    Workers,
    /// The desired state that is live (JSON)
    Config,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Neighbour {
    /// Forget what was learnt; static neighbours stay
    Flush {
        /// Only on this interface
        #[arg(long)]
        interface: Option<String>,
        /// Only this address
        #[arg(long)]
        address: Option<IpAddr>,
    },
}

/// The packet to explain.
#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    /// Interface or port it comes in by
    #[arg(long = "in", value_name = "INTERFACE")]
    pub(crate) input: Option<String>,
    /// Source address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) src: IpAddr,
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dst: IpAddr,
    /// Protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(long, default_value = "tcp", value_parser = protocol)]
    pub(crate) proto: u8,
    /// Source port
    #[arg(long, value_name = "PORT")]
    pub(crate) sport: Option<u16>,
    /// Destination port
    #[arg(long, value_name = "PORT")]
    pub(crate) dport: Option<u16>,
    /// TCP flags that are set, as in `syn,ack`
    #[arg(long, value_name = "FLAGS", value_parser = tcp_flags)]
    pub(crate) tcp_flags: Option<u8>,
    /// ICMP type, and code after a slash
    #[arg(long, value_name = "TYPE[/CODE]", value_parser = icmp)]
    pub(crate) icmp: Option<(u8, u8)>,
    /// How it stands to its connection: new, established, related, invalid or untracked; if left
    /// out, as a first packet
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub(crate) state: Option<Standing>,
    /// TTL or hop limit
    #[arg(long, value_name = "N")]
    pub(crate) hop_limit: Option<u8>,
    /// Differentiated services code point
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..64))]
    pub(crate) dscp: Option<u8>,
    /// Bytes of the IP packet
    #[arg(long, value_name = "BYTES")]
    pub(crate) length: Option<u16>,
    /// IPv4 Don't Fragment is set
    #[arg(long)]
    pub(crate) dont_fragment: bool,
    /// It is a fragment that begins at this byte of its datagram; ports are those of the first,
    /// which policy routes look at, and stateful filters
    #[arg(long, value_name = "BYTES")]
    pub(crate) fragment_offset: Option<u16>,
    /// It is a fragment that others follow
    #[arg(long)]
    pub(crate) more_fragments: bool,
    /// Ask the policy of an earlier commit instead of the live one
    #[arg(long, value_name = "GENERATION", conflicts_with = "candidate")]
    pub(crate) at: Option<u64>,
    /// Ask what would happen if this file were applied; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) candidate: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = parse("sluice show ports --json --dir /tmp/x").unwrap();
        assert!(cli.json);
        assert_eq!(cli.appliance.directory(), PathBuf::from("/tmp/x"));
        assert_eq!(cli.appliance.state(), PathBuf::from("/tmp/x/state"));
        assert!(matches!(cli.command, Command::Show(Show::Ports)));
    }

    #[test]
    fn the_directory_follows_the_name() {
        let mut appliance = parse("sluice --name lab show status").unwrap().appliance;
        appliance.dir = None; // whatever the environment says
        assert_eq!(appliance.directory(), PathBuf::from("/run/sluice/lab"));
        assert_eq!(appliance.state(), PathBuf::from("/var/lib/sluice/lab"));
        assert!(parse("sluice --name ../etc show status").is_err());
    }

    #[test]
    fn route_words_are_kept_in_order() {
        let cli = parse("sluice route add 10.9.0.0/16 via 10.0.2.2 via 10.0.2.3 weight 2").unwrap();
        let Command::Route(Route::Add(add)) = cli.command else { panic!() };
        assert_eq!(add.prefix, "10.9.0.0/16");
        assert_eq!(add.target, ["via", "10.0.2.2", "via", "10.0.2.3", "weight", "2"]);
        assert_eq!(parse("sluice route add 10.9.0.0/16").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn explain_reads_packets() {
        let line = "sluice explain --in lan --src 10.0.1.2 --dst fd00::1 --proto icmpv6 --icmp 3/4";
        let Command::Explain(query) = parse(line).unwrap().command else { panic!() };
        assert_eq!((query.proto, query.icmp), (58, Some((3, 4))));
    }
}
