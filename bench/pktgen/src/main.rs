//! `sluice-pktgen`: generates packets over DPDK ports and measures what comes back.
//!
//! One thread sends and receives, pinned to one core. Every packet carries its number and the time
//! it was sent, so that loss, order and latency are known exactly. With `--two-way`, what arrives is
//! turned round and sent home, and both ways are timed.

mod frame;
mod load;
mod plot;
mod ports;
mod progress;
mod report;
mod search;
mod stamp;
mod traffic;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use sluice_dpdk::{pin_current_thread, register_thread, tsc_hz};

use load::{Load, Replay};
use ports::{PATIENCE, Ports, Wanted};
use progress::Progress;
use report::Report;
use search::{BackToBack, Search, Trial};
use traffic::{Pattern, Sizes, Traffic, Transport, address};
use trial::Trials;

/// Generates packets over DPDK ports and measures what comes back: rate, loss, order, latency.
#[derive(Parser, Debug)]
#[command(name = "sluice-pktgen", version)]
struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    #[command(flatten)]
    traffic: TrafficArguments,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Say on standard error every second what goes on; so it is said on a terminal.
    #[arg(long, global = true)]
    progress: bool,
    /// Draw which part of the packets took no longer than what, as SVG.
    #[arg(long, global = true, value_name = "FILE")]
    plot_latency: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct LinkArguments {
    /// DPDK device to send by: a PCI address or a virtual device with its arguments. With
    /// `net_vhost0,iface=PATH` a Sluice port `net_virtio_user0,path=PATH` is the other end.
    #[arg(long, value_name = "DEVICE", default_value = "net_vhost0,iface=/tmp/sluice-pktgen-0")]
    tx: String,
    /// DPDK device that the packets come back by; the same one if it is written alike.
    #[arg(long, value_name = "DEVICE", default_value = "net_vhost1,iface=/tmp/sluice-pktgen-1")]
    rx: String,
    /// Core to send and receive on.
    #[arg(long, default_value_t = 0)]
    core: u16,
    /// Memory for packets, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    memory: u32,
    /// Do without hugepages.
    #[arg(long)]
    no_huge: bool,
    /// Of each millisecond, leave so many microseconds of the core to others. With a priority above
    /// theirs, the generator then never stands still for longer, whatever they do.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..900))]
    nap: u64,
}

#[derive(Args, Debug)]
struct TrafficArguments {
    /// Link address of the router's port.
    #[arg(long, value_name = "MAC", value_parser = mac)]
    router: Option<[u8; 6]>,
    /// First source address; flows go on from it.
    #[arg(long, value_name = "ADDRESS", default_value = "10.0.1.2")]
    source: String,
    /// First destination address.
    #[arg(long, value_name = "ADDRESS", default_value = "10.1.0.1")]
    destination: String,
    /// Destination addresses.
    #[arg(long, value_name = "N", default_value_t = 250)]
    destinations: u32,
    /// Flows.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    flows: u32,
    /// Which flow a packet is of: even, random, zipf, new, flood.
    #[arg(long, default_value = "even")]
    pattern: Pattern,
    /// So many flows end every second, and new ones take their place.
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    new_flows: f64,
    /// Send the packets of a capture (pcap), over and over, instead of making some. Their
    /// destination link address becomes the router's; what comes back is counted.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["two_way", "pattern", "new_flows", "size", "vlan"])]
    replay: Option<PathBuf>,
    /// Turn round what arrives at `--rx`, send it home, and time both ways.
    #[arg(long)]
    two_way: bool,
    /// Length of frames with check sequence, 64 to 9018, or `imix`.
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// Layer 4.
    #[arg(long, value_enum, default_value = "udp")]
    transport: Transport,
    /// VLAN tag of what is sent.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Sends at a rate and tells what came back.
    Run {
        /// Packets a second; as many as possible unless given.
        #[arg(long, value_name = "PPS")]
        rate: Option<f64>,
        /// Seconds.
        #[arg(long, default_value_t = 5.0)]
        time: f64,
    },
    /// Searches the highest rate at which nothing, or no more than a part, is lost, and the latency
    /// at 10, 50 and 90 % of it (RFC 2544).
    Search {
        /// The part that may be lost; several are searched one after the other.
        #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "0")]
        loss: Vec<f64>,
        /// Seconds for each trial.
        #[arg(long, default_value_t = 2.0)]
        time: f64,
        /// How near the search goes, as a part of the rate.
        #[arg(long, value_name = "PART", default_value_t = 0.02)]
        resolution: f64,
        /// Trials of a rate of which one has to pass: the machine may be shared.
        #[arg(long, value_name = "N", default_value_t = 2)]
        attempts: u32,
    },
    /// Searches the longest burst at full speed that is carried whole (RFC 2544, 26.4).
    BackToBack {
        /// Seconds that a burst takes at most.
        #[arg(long, default_value_t = 2.0)]
        longest: f64,
        /// Searches, whose average counts.
        #[arg(long, value_name = "N", default_value_t = 10)]
        repeat: u32,
    },
    /// Draws the results of `make bench` as SVG.
    Plot {
        /// What `make bench` has kept.
        results: PathBuf,
        /// Where the plots go.
        #[arg(long, value_name = "DIR", default_value = ".")]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-pktgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Command::Plot { results, directory } = &arguments.command {
        for file in plot::results(results, directory)? {
            println!("{}", file.display());
        }
        return Ok(());
    }
    let mut load = load(&arguments.traffic)?;
    let longest = u16::try_from(load.longest()).context("a frame is longer than 64 KiB")?;
    let mut ports = Ports::open(&Wanted {
        tx: &arguments.link.tx,
        rx: &arguments.link.rx,
        memory: arguments.link.memory,
        no_huge: arguments.link.no_huge,
        mtu: longest.saturating_sub(14).max(1500),
    })?;
    load.set_out(ports.near.mac, arguments.traffic.new_flows / tsc_hz() as f64);
    // Before this thread is pinned: its children are where it is.
    let progress = Progress::start(arguments.progress);
    pin_current_thread(arguments.link.core)?;
    let _registered = register_thread()?;
    let two_way = arguments.traffic.two_way;
    let nap = Duration::from_micros(arguments.link.nap);
    let mut trials = Trials::new(&mut ports, &load, two_way, nap, progress.counts());
    // A device has link before who is at its other end forwards; and the first packets meet empty
    // caches and unknown neighbours.
    let started = Instant::now();
    while trials.run(Some(10_000.0), Duration::from_millis(200)).received == 0 {
        if started.elapsed() > PATIENCE {
            bail!("nothing comes back: does the other end forward to these addresses?");
        }
    }
    let report = measure(&arguments.command, &mut trials)?;
    drop(progress);
    if let Some(file) = &arguments.plot_latency {
        plot::latency(file, &report.curves())?;
    }
    report.print(arguments.json)
}

/// Carries out a command.
fn measure(command: &Command, trials: &mut Trials<'_>) -> anyhow::Result<Report> {
    let mut report = Report::default();
    match command {
        Command::Run { rate, time } => report.add("run", &trials.run(*rate, seconds(*time)?)),
        Command::Search { loss, time, resolution, attempts } => {
            for (place, &loss) in loss.iter().enumerate() {
                let time = seconds(*time)?;
                let search = Search { loss, time, resolution: *resolution, attempts: *attempts };
                let found = search.run(trials, |outcome, passes| {
                    let verdict = if passes { "passes" } else { "fails" };
                    eprintln!(
                        "{:>12.0} packets/s: {} of {} lost, {verdict}",
                        outcome.rate(),
                        outcome.lost(),
                        outcome.sent
                    );
                });
                let found = found.with_context(|| format!("every rate loses more than {loss}"))?;
                if place > 0 {
                    report.add(&format!("{} % may be lost", 100.0 * loss), &found);
                    continue;
                }
                report.add("found", &found);
                for part in [10, 50, 90] {
                    let rate = found.rate() * f64::from(part) / 100.0;
                    report.add(&format!("{part} %"), &trials.run(Some(rate), time));
                }
            }
        }
        Command::BackToBack { longest, repeat } => {
            let search = BackToBack { longest: seconds(*longest)?, repeat: *repeat };
            report.add_bursts(&search.run(trials, |outcome, whole| {
                let verdict = if whole { "whole" } else { "not whole" };
                eprintln!("{:>10} packets: {} lost, {verdict}", outcome.sent, outcome.lost());
            }));
        }
        Command::Plot { .. } => {}
    }
    Ok(report)
}

/// What is to be sent.
fn load(arguments: &TrafficArguments) -> anyhow::Result<Load> {
    let router = arguments.router.context("say by --router where packets go: 02:00:00:00:00:01")?;
    if let Some(capture) = &arguments.replay {
        return Ok(Load::Replayed(Replay::read(capture, router)?));
    }
    let (family, source) = address(&arguments.source).map_err(anyhow::Error::msg)?;
    let (other, destination) = address(&arguments.destination).map_err(anyhow::Error::msg)?;
    if family != other {
        bail!("`{}` and `{}` are of two IP versions", arguments.source, arguments.destination);
    }
    Ok(Load::Made(Traffic {
        router,
        own: [0; 6],
        family,
        transport: arguments.transport,
        vlan: arguments.vlan,
        source,
        destination,
        destinations: arguments.destinations,
        flows: arguments.flows,
        pattern: arguments.pattern,
        turnover: 0.0,
        sizes: arguments.size.clone(),
    }))
}

fn seconds(time: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(time).with_context(|| format!("`{time}` seconds are no time"))
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("`{text}` is no link address: write 02:00:00:00:00:01");
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
}
