//! What the dataplane says unasked: as lines of the log, and as events for whoever watches.

use std::net::{IpAddr, SocketAddr};

use sluice_channel::{CrashReport, Notice, RuleLog};
use sluice_control_api::WatchKind;

use crate::events::Events;
use crate::text;

/// Logs a notice and passes it on.
pub(crate) fn tell(notice: Notice, events: &Events) {
    log(&notice);
    if let Some(event) = event(notice) {
        events.say(event);
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Link { port, up: true } => tracing::info!("port {port}: link is up"),
        Notice::Link { port, up: false } => tracing::warn!("port {port}: link is down"),
        Notice::PortLost { port, reason } => tracing::error!("port {port} is lost: {reason}"),
        Notice::PortBack { port } => tracing::info!("port {port} is back"),
        Notice::Neighbour { interface, address, mac, state } => {
            tracing::debug!(
                ?mac,
                "neighbour {address} on {interface}: {}",
                text::state_name(*state)
            );
        }
        Notice::WorkerStalled { worker, core, for_ms } => {
            tracing::error!("worker {worker} on core {core} has been stalled for {for_ms} ms");
        }
        Notice::WorkerRecovered { worker, core, for_ms } => {
            tracing::info!("worker {worker} on core {core} goes on after {for_ms} ms");
        }
        Notice::Crashed(report) => tracing::error!("{}", crash_line(report)),
        Notice::Stopping => tracing::info!("the dataplane is stopping"),
        Notice::Log(line) => tracing::info!("{}", rule_line(line)),
        other => tracing::debug!(?other, "the dataplane says"),
    }
}

fn event(notice: Notice) -> Option<WatchKind> {
    Some(match notice {
        Notice::Link { port, up } => WatchKind::Link { port, up },
        Notice::PortLost { port, reason } => WatchKind::PortLost { port, reason },
        Notice::PortBack { port } => WatchKind::PortBack { port },
        Notice::Neighbour { interface, address, mac, state } => {
            WatchKind::Neighbour { interface, address, mac, state: text::state_name(state).into() }
        }
        Notice::WorkerStalled { worker, core, for_ms } => {
            WatchKind::WorkerStalled { worker, core, for_ms }
        }
        Notice::WorkerRecovered { worker, .. } => WatchKind::WorkerRecovered { worker },
        Notice::Crashed(report) => WatchKind::Crashed { report: crash_line(&report) },
        Notice::Log(line) => WatchKind::RuleLog {
            instance: line.instance,
            point: line.point,
            rule: line.rule,
            action: line.action,
            input: line.input,
            output: line.output,
            source: line.source,
            destination: line.destination,
            protocol: line.protocol,
            source_port: line.source_port,
            destination_port: line.destination_port,
            length: line.length,
            suppressed: line.suppressed,
        },
        // Its end is what is told.
        _ => return None,
    })
}

/// `the last dataplane crashed: worker-0 on core 2 in route, generation 7: index out of bounds; see
/// FILE; a packet was in hand at an earlier crash too: …`.
fn crash_line(report: &CrashReport) -> String {
    let mut words = format!("the last dataplane crashed: {}", report.thread);
    if let Some(core) = report.core {
        words.push_str(&format!(" on core {core}"));
    }
    if let Some(stage) = &report.stage {
        words.push_str(&format!(" in {stage}"));
    }
    words.push_str(&format!(
        ", generation {}: {}; see {}",
        report.generation, report.message, report.file
    ));
    for packet in &report.poison {
        words.push_str(&format!("; a packet was in hand at an earlier crash too: {packet}"));
    }
    words
}

/// `forward filter of default: no-http: drop tcp 10.0.1.2:40000 > 10.0.2.2:80 in lan out wan`.
fn rule_line(line: &RuleLog) -> String {
    let mut words = format!(
        "{} filter of {}: {}: {} {} {} > {}",
        line.point.name(),
        line.instance,
        line.rule,
        line.action.name(),
        text::protocol(line.protocol),
        end(line.protocol, line.source, line.source_port),
        end(line.protocol, line.destination, line.destination_port),
    );
    for (word, name) in [("in", &line.input), ("out", &line.output)] {
        if let Some(name) = name {
            words.push_str(&format!(" {word} {name}"));
        }
    }
    words.push_str(&format!(" length {}", line.length));
    if line.suppressed != 0 {
        words.push_str(&format!(" ({} more were not logged)", line.suppressed));
    }
    words
}

/// One end of a flow; ICMP has a type and a code in the ports' places.
fn end(protocol: u8, address: IpAddr, port: u16) -> String {
    match protocol {
        6 | 17 | 33 | 132 | 136 => SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_policy::model::{Action, FilterPoint};

    use super::*;

    #[test]
    fn a_rule_log_is_one_line() {
        let mut line = RuleLog {
            instance: "default".into(),
            point: FilterPoint::Forward,
            rule: "no-http".into(),
            action: Action::Drop,
            input: Some("lan".into()),
            output: None,
            source: "fd00:1::2".parse().unwrap(),
            destination: "fd00:2::2".parse().unwrap(),
            protocol: 6,
            source_port: 40_000,
            destination_port: 80,
            length: 60,
            suppressed: 0,
        };
        assert_eq!(
            rule_line(&line),
            "forward filter of default: no-http: drop tcp [fd00:1::2]:40000 > [fd00:2::2]:80 in lan \
             length 60"
        );
        (line.protocol, line.suppressed) = (58, 7);
        assert!(rule_line(&line).ends_with(
            "drop icmpv6 fd00:1::2 > fd00:2::2 in lan length 60 (7 more were not logged)"
        ));
    }
}
