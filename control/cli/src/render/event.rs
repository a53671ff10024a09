//! One line for each thing that happens.

use anstyle::Style;
use sluice_control_api::{WatchEvent, WatchKind};

use super::commits::{waits, what};
use super::{clock, maybe};
use crate::style::{BAD, GOOD, NOTE, paint};

/// The line of an event, which is JSON; one that this release does not know is shown as it came.
pub(crate) fn event(json: &str) -> String {
    let Ok(WatchEvent { time, event }) = serde_json::from_str(json) else {
        return format!("{json}\n");
    };
    let (style, name, text) = say(&event);
    let name = if text.is_empty() { name.to_owned() } else { format!("{name:<17}  ") };
    format!("{}  {}{text}\n", clock(&time), paint(style, name))
}

fn say(event: &WatchKind) -> (Style, &'static str, String) {
    let plain = Style::new();
    match event {
        WatchKind::Commit { commit } => {
            let message = commit.message.as_deref().map_or_else(String::new, |m| format!(": {m}"));
            let waits =
                commit.confirm.as_ref().map_or_else(String::new, |c| format!("; {}", waits(c)));
            let (changes, author) = (&commit.changes, &commit.author);
            let what = what(&commit.kind);
            let text =
                format!("{} by {author}, {what}: {changes}{message}{waits}", commit.generation);
            (GOOD, "commit", text)
        }
        WatchKind::RolledBack { commit } => {
            let (changes, author) = (&commit.changes, &commit.author);
            let what = what(&commit.kind);
            (NOTE, "rolled back", format!("{} by {author}, {what}: {changes}", commit.generation))
        }
        WatchKind::Confirm { generation, author } => {
            (GOOD, "confirmed", format!("generation {generation} stays, says {author}"))
        }
        WatchKind::DataplaneAttached { pid, version, generation } => {
            let text = format!("pid {pid}, version {version}, generation {generation}");
            (GOOD, "dataplane is here", text)
        }
        WatchKind::DataplaneLost { reason } => (BAD, "dataplane lost", reason.clone()),
        WatchKind::Crashed { report } => (BAD, "crash", report.clone()),
        WatchKind::Link { port, up: true } => (GOOD, "link up", port.to_string()),
        WatchKind::Link { port, up: false } => (BAD, "link down", port.to_string()),
        WatchKind::PortLost { port, reason } => (BAD, "port lost", format!("{port}: {reason}")),
        WatchKind::PortBack { port } => (GOOD, "port back", port.to_string()),
        WatchKind::Neighbour { interface, address, mac, state } => {
            let style = if state == "failed" { BAD } else { plain };
            (style, "neighbour", format!("{address} on {interface} is {state}, {}", maybe(*mac)))
        }
        WatchKind::Drops { reason, rate, threshold } => {
            (NOTE, "drops", format!("{reason}: {rate} packets/s, more than {threshold}"))
        }
        WatchKind::RuleLog { .. } => (plain, "rule", rule(event)),
        WatchKind::WorkerStalled { worker, core, for_ms } => {
            let text = format!("{worker} on core {core}, for {for_ms} ms: its packets wait");
            (BAD, "worker stalled", text)
        }
        WatchKind::WorkerRecovered { worker } => (GOOD, "worker goes on", worker.to_string()),
        WatchKind::AgentStalled { for_ms } => {
            let text = format!("for {for_ms} ms: packets are forwarded, nothing else is done");
            (BAD, "agent stalled", text)
        }
        WatchKind::AgentRecovered => (GOOD, "agent goes on", String::new()),
        WatchKind::Persistence { problem: Some(problem) } => (BAD, "persistence", problem.clone()),
        WatchKind::Persistence { problem: None } => {
            (GOOD, "persistence", "commits are kept on disk again".into())
        }
        WatchKind::Missed { count } => {
            (NOTE, "missed", format!("{count} events: the reader did not keep up"))
        }
    }
}

fn rule(event: &WatchKind) -> String {
    let WatchKind::RuleLog {
        instance,
        point,
        rule,
        action,
        input,
        output,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        length,
        suppressed,
    } = event
    else {
        return String::new();
    };
    let more = match suppressed {
        0 => String::new(),
        n => format!(", and {n} before that were not logged"),
    };
    format!(
        "{rule} ({} of {instance}) {}: protocol {protocol}, {source}:{source_port} > \
         {destination}:{destination_port}, {length} bytes, in {}, out {}{more}",
        point.name(),
        action.name(),
        maybe(input.as_ref()),
        maybe(output.as_ref()),
    )
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn line(json: &str) -> String {
        strip_str(&event(json)).to_string()
    }

    #[test]
    fn an_event_is_a_line() {
        let link = r#"{"time":"2026-01-02T03:04:05.678Z","event":"link","port":"lan","up":false}"#;
        assert_eq!(line(link), "2026-01-02 03:04:05  link down          lan\n");
        let recovered = r#"{"time":"2026-01-02T03:04:05Z","event":"agent-recovered"}"#;
        assert_eq!(line(recovered), "2026-01-02 03:04:05  agent goes on\n");
        let stalled = r#"{"time":"2026-01-02T03:04:05Z","event":"worker-stalled","worker":1,"core":3,"for_ms":612}"#;
        assert!(line(stalled).contains("1 on core 3, for 612 ms"));
        let commit = r#"{"time":"2026-01-02T03:04:05Z","event":"commit","commit":{"generation":12,
            "time":"2026-01-02T03:04:05Z","author":"alice (sudo)","kind":"route",
            "changes":{"routes":{"added":1,"removed":0,"changed":0}},"message":"for the fair",
            "confirm":{"base":11,"remaining_seconds":60},"live":true}}"#;
        let text = line(commit);
        assert!(text.contains("12 by alice (sudo), route: +1 route: for the fair"), "{text}");
        assert!(text.contains("generation 11 comes back in 60 s"), "{text}");
    }

    #[test]
    fn an_event_of_a_later_release_is_shown_as_it_came() {
        let unknown = r#"{"time":"2026-01-02T03:04:05Z","event":"eclipse"}"#;
        assert_eq!(line(unknown), format!("{unknown}\n"));
    }
}
