//! `sluice-pktgen`: generates packets over DPDK ports and measures what comes back.
//!
//! One thread sends and receives, pinned to one core. Every packet carries its number and the time
//! it was sent, so that loss, order and latency are known exactly.

mod ports;
mod report;
mod search;
mod stamp;
mod traffic;
mod trial;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use sluice_dpdk::{pin_current_thread, register_thread};

use ports::{PATIENCE, Ports, Wanted};
use report::Report;
use search::Search;
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
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct LinkArguments {
    /// DPDK device to send by; with `net_vhost0,iface=PATH` a Sluice port
    /// `net_virtio_user0,path=PATH` is the other end.
    #[arg(long, value_name = "DEVICE", default_value = "net_vhost0,iface=/tmp/sluice-pktgen-0")]
    tx: String,
    /// DPDK device that the packets come back by.
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
}

#[derive(Args, Debug)]
struct TrafficArguments {
    /// Link address of the router's port.
    #[arg(long, value_name = "MAC", value_parser = mac)]
    router: [u8; 6],
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
    /// Which flow a packet is of: even, random, zipf, new.
    #[arg(long, default_value = "even")]
    pattern: Pattern,
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
        /// The part that may be lost.
        #[arg(long, value_name = "PART", default_value_t = 0.0)]
        loss: f64,
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
    let longest = arguments.traffic.size.longest();
    let mut ports = Ports::open(&Wanted {
        tx: &arguments.link.tx,
        rx: &arguments.link.rx,
        memory: arguments.link.memory,
        no_huge: arguments.link.no_huge,
        mtu: longest.saturating_sub(14).max(1500),
    })?;
    let traffic = traffic(&arguments.traffic, ports.mac)?;
    pin_current_thread(arguments.link.core)?;
    let _registered = register_thread()?;
    let mut trials = Trials::new(&mut ports, &traffic);
    // A device has link before who is at its other end forwards; and the first packets meet empty
    // caches and unknown neighbours.
    let started = Instant::now();
    while trials.run(Some(10_000.0), Duration::from_millis(200)).received == 0 {
        if started.elapsed() > PATIENCE {
            bail!("nothing comes back: does the other end forward to these addresses?");
        }
    }
    let mut report = Report::default();
    match arguments.command {
        Command::Run { rate, time } => {
            report.add("run", &trials.run(rate, seconds(time)?));
        }
        Command::Search { loss, time, resolution, attempts } => {
            let search = Search { loss, time: seconds(time)?, resolution, attempts };
            let found = search.run(&mut trials, |outcome, passes| {
                let verdict = if passes { "passes" } else { "fails" };
                eprintln!(
                    "{:>12.0} packets/s: {} of {} lost, {verdict}",
                    outcome.rate(),
                    outcome.lost(),
                    outcome.sent
                );
            });
            let found = found.context("every rate loses more than is allowed")?;
            report.add("found", &found);
            for part in [10, 50, 90] {
                let rate = found.rate() * f64::from(part) / 100.0;
                report.add(&format!("{part} %"), &trials.run(Some(rate), search.time));
            }
        }
    }
    report.print(arguments.json)
}

fn traffic(arguments: &TrafficArguments, own: [u8; 6]) -> anyhow::Result<Traffic> {
    let (family, source) = address(&arguments.source).map_err(anyhow::Error::msg)?;
    let (other, destination) = address(&arguments.destination).map_err(anyhow::Error::msg)?;
    if family != other {
        bail!("`{}` and `{}` are of two IP versions", arguments.source, arguments.destination);
    }
    Ok(Traffic {
        router: arguments.router,
        own,
        family,
        transport: arguments.transport,
        vlan: arguments.vlan,
        source,
        destination,
        destinations: arguments.destinations,
        flows: arguments.flows,
        pattern: arguments.pattern,
        sizes: arguments.size.clone(),
    })
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
