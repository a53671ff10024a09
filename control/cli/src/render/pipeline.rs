//! The pipeline as a picture: the fixed stages, and between them a box for each hook event with
//! its stages in the order in which they run.

use std::fmt::Write;

use sluice_control_api::{InstancePipeline, Pipeline, PipelineStage};
use sluice_policy::{Event, Stage};

/// Columns inside a box.
const INSIDE: usize = 20;
/// Columns before a box.
const MARGIN: &str = "  ";

pub(crate) fn pipeline(pipeline: &Pipeline) -> String {
    let mut text = String::new();
    for (i, instance) in pipeline.instances.iter().enumerate() {
        let interfaces: Vec<&str> = instance.interfaces.iter().map(|name| &**name).collect();
        let interfaces = if interfaces.is_empty() { "none".into() } else { interfaces.join(", ") };
        let _ = writeln!(
            text,
            "{}instance {}, interfaces {interfaces}, generation {}\n",
            if i == 0 { "" } else { "\n" },
            instance.instance,
            pipeline.generation
        );
        draw(&mut text, instance, &pipeline.stages);
    }
    if pipeline.instances.len() > 1 {
        text.push_str("\ncounters are of all instances together\n");
    }
    text
}

fn draw(text: &mut String, instance: &InstancePipeline, counters: &[PipelineStage]) {
    let at = |event: Event| {
        let found = instance.events.iter().find(|at| at.event == event);
        found.map_or(&[][..], |at| &at.stages)
    };
    let mut picture = Picture { text, counters };
    picture.heading();
    picture.group("", &[Stage::Rx, Stage::Decode, Stage::Arp], Some("ARP ends here"));
    picture.hooks(Event::Observing, at(Event::Observing));
    picture.hooks(Event::PhysicalIn, at(Event::PhysicalIn));
    picture.group("", &[Stage::Local], Some("own addresses end here"));
    picture.hooks(Event::RouteDecision, at(Event::RouteDecision));
    picture.hooks(Event::Forwarding, at(Event::Forwarding));
    picture.hooks(Event::PhysicalOut, at(Event::PhysicalOut));
    picture.group("", &[Stage::Neighbour, Stage::Tx], None);
    picture.end();
}

struct Picture<'a> {
    text: &'a mut String,
    counters: &'a [PipelineStage],
}

impl Picture<'_> {
    fn heading(&mut self) {
        let ports = format!("{MARGIN}{:^width$}", "ports", width = INSIDE + 2);
        let _ = writeln!(
            self.text,
            "{ports}{:>12}{:>14}{:>11}{:>15}",
            "BURSTS", "PACKETS", "DROPPED", "CYCLES/PACKET"
        );
        let _ = writeln!(self.text, "{MARGIN}{:>width$}", "▼", width = INSIDE / 2 + 1);
    }

    fn end(&mut self) {
        let _ = writeln!(self.text, "{MARGIN}{:>width$}", "▼", width = INSIDE / 2 + 1);
        let _ = writeln!(self.text, "{MARGIN}{:>width$}", "ports", width = INSIDE / 2 + 3);
    }

    /// The stages of an event; an event without stages costs a packet nothing and is not drawn.
    fn hooks(&mut self, event: Event, stages: &[Stage]) {
        if !stages.is_empty() {
            self.group(event.name(), stages, None);
        }
    }

    fn group(&mut self, title: &str, stages: &[Stage], aside: Option<&str>) {
        let title = if title.is_empty() { String::new() } else { format!("─ {title} ") };
        let _ = writeln!(self.text, "{MARGIN}┌{title:─<INSIDE$}┐");
        for (i, stage) in stages.iter().enumerate() {
            // What leaves the way here is said beside the last stage of the group.
            let aside = aside.filter(|_| i + 1 == stages.len());
            self.stage(*stage, aside);
        }
        let _ = writeln!(self.text, "{MARGIN}└{:─^INSIDE$}┘", "┬");
    }

    fn stage(&mut self, stage: Stage, aside: Option<&str>) {
        let name = format!(" {}", stage.name());
        let _ = write!(self.text, "{MARGIN}│{name:<INSIDE$}│");
        if let Some(counters) = self.counters.iter().find(|counters| counters.stage == stage) {
            let cycles = super::maybe(counters.cycles_per_packet);
            let _ = write!(
                self.text,
                "{:>12}{:>14}{:>11}{cycles:>15}",
                counters.bursts, counters.packets, counters.dropped
            );
        }
        if let Some(aside) = aside {
            let _ = write!(self.text, "  {aside}");
        }
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use sluice_control_api::PipelineEvent;

    use super::*;

    #[test]
    fn the_picture_shows_every_stage_in_order() {
        let event = |event, stages: &[Stage]| PipelineEvent { event, stages: stages.to_vec() };
        let instance = InstancePipeline {
            instance: "default".into(),
            interfaces: vec!["lan".into(), "wan".into()],
            events: vec![
                event(Event::RouteDecision, &[Stage::Route]),
                event(Event::Forwarding, &[Stage::HopLimit, Stage::ForwardFilter, Stage::Mtu]),
            ],
        };
        let counters = Stage::ALL.map(|stage| PipelineStage {
            stage,
            bursts: 10,
            packets: 640,
            dropped: 1,
            cycles_per_packet: Some(35),
        });
        let value =
            Pipeline { generation: 3, instances: vec![instance], stages: counters.to_vec() };
        let text = pipeline(&value);
        let place = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in\n{text}"));
        let words = [
            "rx",
            "decode",
            "arp",
            "local",
            "ROUTE_DECISION",
            " route ",
            "FORWARDING",
            "hop-limit",
            "forward-filter",
            "mtu",
            "neighbour",
            "tx",
        ];
        assert!(words.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{text}");
        assert!(!text.contains("PHYSICAL_IN"), "no stage, no box:\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let corners: Vec<_> = text
            .lines()
            .filter(|line| line.contains(['┐', '┘']))
            .map(|line| line.trim_end().chars().count())
            .collect();
        assert!(corners.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
