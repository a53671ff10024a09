//! The two processes and the workers.

use std::fmt::Write;

use sluice_control_api::{Progress, Status, Worker};

use super::{duration, list, table};

pub(crate) fn status(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<10} {value}");
    };
    let live = match status.live_routes {
        0 => String::new(),
        1 => " and 1 live route".into(),
        n => format!(" and {n} live routes"),
    };
    let file = status.file.as_deref().unwrap_or("what the dataplane ran (adopted)");
    line("desired", format!("{file}{live}"));
    match &status.progress {
        Progress::Committed { generation } => line("live", format!("generation {generation}")),
        Progress::Waiting { reason } => line("live", format!("no dataplane: {reason}")),
        Progress::Refused { generation, details } => {
            line("live", format!("generation {generation}, not what is desired; it was refused:"));
            details.iter().for_each(|detail| line("", detail.clone()));
        }
    }
    line(
        "control",
        format!("{}, pid {}, up {}", status.version, status.pid, duration(status.uptime_seconds)),
    );
    if let Some(dataplane) = &status.dataplane {
        let pages = if dataplane.hugepages { "hugepages" } else { "no hugepages" };
        line(
            "dataplane",
            format!(
                "{}, pid {}, up {}, {} MiB, {pages}",
                dataplane.version,
                dataplane.pid,
                duration(dataplane.uptime_seconds),
                dataplane.memory_mib,
            ),
        );
        for pool in &dataplane.mempools {
            line(
                "",
                format!("pool {}: {} of {} buffers in use", pool.name, pool.in_use, pool.size),
            );
        }
    }
    text
}

pub(crate) fn workers(workers: &[Worker]) -> String {
    table(
        ["#WORKER", "#CORE", "#GENERATION", "STATE", "QUEUES"],
        workers.iter().map(|worker| {
            [
                worker.worker.to_string(),
                worker.core.to_string(),
                worker.generation.to_string(),
                if worker.sleeping { "asleep" } else { "polling" }.into(),
                list(worker.queues.iter().map(|queue| format!("{}/{}", queue.port, queue.queue))),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_progress_is_said() {
        let mut value = Status {
            version: "0.1.0".into(),
            pid: 7,
            uptime_seconds: 5,
            file: Some("lab.yaml".into()),
            live_routes: 1,
            progress: Progress::Committed { generation: 3 },
            dataplane: None,
            persistence: Default::default(),
            confirm: None,
            agent_stalled_ms: None,
        };
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
}
