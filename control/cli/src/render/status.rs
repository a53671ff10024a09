//! The two processes and the workers.

use std::fmt::Write;

use comfy_table::Cell;
use sluice_control_api::{Dataplane, Persistence, Progress, Status, Worker};

use super::commits::waits;
use super::{cell, duration, list, maybe, table};
use crate::style::{BAD, NOTE, paint};

pub(crate) fn status(status: &Status) -> String {
    let mut lines = Lines(String::new());
    let live = match status.live_routes {
        0 => String::new(),
        1 => " and 1 live route".into(),
        n => format!(" and {n} live routes"),
    };
    let file = status.file.as_deref().unwrap_or("what the dataplane ran (adopted)");
    lines.say("desired", format!("{file}{live}"));
    match &status.progress {
        Progress::Committed { generation } => {
            lines.say("live", format!("generation {generation}"));
        }
        Progress::Waiting { reason } => {
            lines.say("live", paint(BAD, format_args!("no dataplane: {reason}")));
        }
        Progress::Refused { generation, details } => {
            let text = format!("generation {generation}, not what is desired; it was refused:");
            lines.say("live", paint(BAD, text));
            details.iter().for_each(|detail| lines.say("", detail));
        }
    }
    status.notes.iter().for_each(|note| lines.say("", paint(NOTE, note)));
    if let Some(confirm) = &status.confirm {
        lines.say("confirm", paint(NOTE, waits(confirm)));
    }
    let uptime = duration(status.uptime_seconds);
    lines.say("control", format!("{}, pid {}, up {uptime}", status.version, status.pid));
    lines.persistence(&status.persistence);
    if let Some(dataplane) = &status.dataplane {
        lines.dataplane(dataplane);
    }
    if let Some(ms) = status.agent_stalled_ms {
        let text = format!(
            "the agent has not gone round for {}: packets are forwarded, nothing else is done",
            duration(ms / 1000)
        );
        lines.say("", paint(BAD, text));
    }
    for note in &status.notes {
        lines.say("note", paint(NOTE, note));
    }
    lines.0
}

/// Lines of a label and a value.
struct Lines(String);

impl Lines {
    fn say(&mut self, label: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{label:<10} {value}");
    }

    fn persistence(&mut self, persistence: &Persistence) {
        if !persistence.directory.is_empty() {
            self.say("commits", &persistence.directory);
        }
        if let Some(error) = &persistence.error {
            let text = format!("{error}; changes are refused until they can be kept");
            self.say("", paint(BAD, text));
        }
        for damaged in &persistence.damaged {
            let text = format!("damaged, put aside: {}: {}", damaged.file, damaged.problem);
            self.say("", paint(NOTE, text));
        }
    }

    fn dataplane(&mut self, dataplane: &Dataplane) {
        let pages = if dataplane.hugepages { "hugepages" } else { "no hugepages" };
        let uptime = duration(dataplane.uptime_seconds);
        let Dataplane { version, pid, memory_mib, .. } = dataplane;
        self.say(
            "dataplane",
            format!("{version}, pid {pid}, up {uptime}, {memory_mib} MiB, {pages}"),
        );
        for pool in &dataplane.mempools {
            self.say(
                "",
                format!("pool {}: {} of {} buffers in use", pool.name, pool.in_use, pool.size),
            );
        }
    }
}

pub(crate) fn workers(workers: &[Worker]) -> String {
    table(
        [
            "#WORKER",
            "#CORE",
            "#GENERATION",
            "STATE",
            "#LOAD",
            "#PACKETS/BURST",
            "#CLOCKS/PACKET",
            "QUEUES",
        ],
        workers.iter().map(|worker| {
            let state = match worker {
                Worker { stalled_ms: Some(ms), .. } => {
                    format!("stalled for {}.{} s", ms / 1000, ms / 100 % 10)
                }
                Worker { sleeping: true, .. } => "asleep".into(),
                _ => "polling".into(),
            };
            let queues = worker.queues.iter();
            [
                Cell::new(worker.worker),
                Cell::new(worker.core),
                Cell::new(worker.generation),
                cell(state, worker.stalled_ms.is_some()),
                Cell::new(maybe(worker.load_percent.map(|percent| format!("{percent:.1} %")))),
                Cell::new(maybe(worker.packets_per_burst)),
                Cell::new(maybe(worker.cycles_per_packet)),
                Cell::new(list(queues.map(|queue| format!("{}/{}", queue.port, queue.queue)))),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_progress_is_said() {
        let mut value: Status = serde_json::from_str(
            r#"{"version":"0.1.0","pid":7,"uptime_seconds":5,"file":"lab.yaml","live_routes":1,
                "progress":{"state":"committed","generation":3},"dataplane":null}"#,
        )
        .unwrap();
        let text = status(&value);
        assert!(text.contains("lab.yaml and 1 live route"), "{text}");
        assert!(text.contains("generation 3"), "{text}");
        value.progress =
            Progress::Refused { generation: 0, details: vec!["port lan: busy".into()] };
        let text = status(&value);
        assert!(text.contains("refused") && text.contains("port lan: busy"), "{text}");
        value.progress = Progress::Waiting { reason: "nobody".into() };
        assert!(status(&value).contains("no dataplane: nobody"));
    }

    #[test]
    fn what_is_not_well_is_said() {
        let value: Status = serde_json::from_str(
            r#"{"version":"0.1.0","pid":7,"uptime_seconds":5,"file":null,"live_routes":0,
                "progress":{"state":"committed","generation":3},"dataplane":null,
                "persistence":{"directory":"/var/lib/sluice/sluice","error":"disk full",
                    "damaged":[{"file":"7.damaged","problem":"cut off"}]},
                "confirm":{"base":2,"remaining_seconds":41},"agent_stalled_ms":3000,
                "notes":["lab.yaml was not applied"]}"#,
        )
        .unwrap();
        let text = status(&value);
        for words in [
            "disk full",
            "7.damaged: cut off",
            "generation 2 comes back in 41 s",
            "agent",
            "not applied",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn a_stalled_worker_stands_out() {
        let worker: Worker = serde_json::from_str(
            r#"{"worker":1,"core":3,"generation":4,"sleeping":false,"queues":[],
                "stalled_ms":1250,"loops":77,"busy_percent":40,"load_percent":37.5,
                "packets_per_burst":12.3,"cycles_per_packet":210.4}"#,
        )
        .unwrap();
        let well = Worker { stalled_ms: None, sleeping: true, ..worker.clone() };
        let text = workers(&[worker, well]);
        assert!(text.contains("stalled for 1.2 s") && text.contains("37.5 %"), "{text}");
        assert!(text.contains("12.3") && text.contains("210.4"), "{text}");
        assert!(text.contains("asleep"), "{text}");
    }
}
