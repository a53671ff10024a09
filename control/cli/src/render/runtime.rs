//! What the workers' time goes into.

use std::fmt::Write;

use sluice_control_api::{PlaceRuntime, Runtime, Work, WorkerRuntime};

use super::{maybe, table};

/// Stages and hooks that were not called are left out; `--json` has them all.
pub(crate) fn runtime(runtime: &Runtime) -> String {
    let mut text = worker(&runtime.total, runtime.seconds);
    if runtime.workers.len() > 1 {
        for of in &runtime.workers {
            let _ = write!(text, "\n{}", worker(of, runtime.seconds));
        }
    }
    text
}

fn worker(runtime: &WorkerRuntime, seconds: f64) -> String {
    let name = runtime.worker.map_or_else(|| "all workers".into(), |n| format!("worker {n}"));
    let Work { packets, packets_per_call, cycles_per_packet, .. } = runtime.work;
    let rate = if seconds > 0.0 { packets as f64 / seconds } else { 0.0 };
    let mut text = format!(
        "{name}, {seconds:.1} s: load {:.1} %, {rate:.0} packets/s, {} packets/burst, {} clocks/packet\n\n",
        runtime.load_percent,
        maybe(packets_per_call),
        maybe(cycles_per_packet),
    );
    let called = runtime.places.iter().filter(|place| place.work.calls > 0);
    text.push_str(&table(
        ["STAGE", "EVENT", "#CALLS", "#PACKETS", "#PACKETS/CALL", "#CLOCKS/PACKET"],
        called.map(|PlaceRuntime { name, event, instance, work, .. }| {
            let of = instance.as_ref().map_or_else(String::new, |only| format!(" of {only}"));
            [
                format!("{name}{of}"),
                event.map_or("-", |event| event.name()).to_owned(),
                work.calls.to_string(),
                work.packets.to_string(),
                maybe(work.packets_per_call),
                maybe(work.cycles_per_packet),
            ]
        }),
    ));
    text
}

#[cfg(test)]
mod tests {
    use sluice_control_api::Origin;
    use sluice_policy::Event;

    use super::*;

    #[test]
    fn what_was_called_is_shown_for_all_and_for_each() {
        let place = |name: &str, event, calls| PlaceRuntime {
            name: name.into(),
            event,
            instance: (name == "mine").then(|| "blue".into()),
            origin: Origin::Stage,
            work: Work::new(calls, calls * 32, calls * 320),
        };
        let places = vec![
            place("decode", None, 10),
            place("arp", None, 0),
            place("mine", Some(Event::Forwarding), 5),
        ];
        let of = |worker| WorkerRuntime {
            worker,
            load_percent: 12.5,
            work: Work::new(10, 320, 32_000),
            places: places.clone(),
        };
        let one = Runtime { seconds: 2.0, hertz: 1, total: of(None), workers: vec![of(Some(0))] };
        let text = runtime(&one);
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "all workers, 2.0 s: load 12.5 %, 160 packets/s, 32 packets/burst, 100 clocks/packet"
        );
        let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace();
        assert_eq!(words(3).collect::<Vec<_>>(), ["decode", "-", "10", "320", "32", "10"]);
        let mine = ["mine", "of", "blue", "FORWARDING", "5", "160", "32", "10"];
        assert_eq!(words(4).collect::<Vec<_>>(), mine);
        assert!(!text.contains("arp") && !text.contains("worker 0"), "{text}");
        let two = Runtime { workers: vec![of(Some(0)), of(Some(1))], ..one };
        let text = runtime(&two);
        assert!(text.contains("\nworker 0, 2.0 s") && text.contains("\nworker 1, "), "{text}");
    }
}
