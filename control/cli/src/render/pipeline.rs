//! The pipeline as a picture: the fixed stages, and between them a box for each hook event with
//! its stages in the order in which they run.

use std::fmt::Write;

use sluice_control_api::{Hook, InstancePipeline, Pipeline, PipelineStage};
use sluice_policy::model::Name;
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
        draw(&mut text, instance, pipeline);
    }
    if pipeline.instances.len() > 1 {
        text.push_str("\ncounters are of all instances together\n");
    }
    text
}

fn draw(text: &mut String, instance: &InstancePipeline, pipeline: &Pipeline) {
    let at = |event: Event| {
        let found = instance.events.iter().find(|at| at.event == event);
        found.map_or(&[][..], |at| &at.order)
    };
    let fixed = |stages: &[Stage]| -> Vec<Name> {
        stages.iter().map(|stage| stage.name().into()).collect()
    };
    let mut picture = Picture { text, instance: &instance.instance, pipeline };
    picture.heading();
    picture.group(None, &fixed(&[Stage::Rx, Stage::Decode, Stage::Arp]), Some("ARP ends here"));
    picture.hooks(Event::Observing, at(Event::Observing));
    picture.hooks(Event::PhysicalIn, at(Event::PhysicalIn));
    picture.group(None, &fixed(&[Stage::Local]), Some("own addresses end here"));
    picture.hooks(Event::RouteDecision, at(Event::RouteDecision));
    picture.hooks(Event::Forwarding, at(Event::Forwarding));
    picture.hooks(Event::PhysicalOut, at(Event::PhysicalOut));
    picture.group(None, &fixed(&[Stage::Neighbour, Stage::Tx]), None);
    picture.end();
    for event in [Event::LoopbackIn, Event::LoopbackOut, Event::NicEvents] {
        picture.beside(event, at(event));
    }
}

struct Picture<'a> {
    text: &'a mut String,
    instance: &'a str,
    pipeline: &'a Pipeline,
}

/// What stands beside a stage or a hook.
struct Counted {
    bursts: u64,
    packets: u64,
    dropped: u64,
    cycles_per_packet: Option<u64>,
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

    /// What runs at an event; one at which nothing does costs a packet nothing and is not drawn.
    fn hooks(&mut self, event: Event, names: &[Name]) {
        if !names.is_empty() {
            self.group(Some(event), names, None);
        }
    }

    /// What runs at an event that is not on the way of a packet from port to port.
    fn beside(&mut self, event: Event, names: &[Name]) {
        if !names.is_empty() {
            let names = super::list(names).replace(',', ", ");
            let _ = writeln!(self.text, "{MARGIN}at {}: {names}", event.name());
        }
    }

    fn group(&mut self, event: Option<Event>, names: &[Name], aside: Option<&str>) {
        let title = event.map_or_else(String::new, |event| format!("─ {} ", event.name()));
        let _ = writeln!(self.text, "{MARGIN}┌{title:─<INSIDE$}┐");
        for (i, name) in names.iter().enumerate() {
            // What leaves the way here is said beside the last stage of the group.
            let aside = aside.filter(|_| i + 1 == names.len());
            self.place(event, name, aside);
        }
        let _ = writeln!(self.text, "{MARGIN}└{:─^INSIDE$}┘", "┬");
    }

    fn place(&mut self, event: Option<Event>, name: &str, aside: Option<&str>) {
        // A longer name is told whole by `sluice show hooks`.
        let shown: String = match name.chars().count() < INSIDE {
            true => name.to_owned(),
            false => name.chars().take(INSIDE - 2).chain(['…']).collect(),
        };
        let shown = format!(" {shown}");
        let _ = write!(self.text, "{MARGIN}│{shown:<INSIDE$}│");
        if let Some(Counted { bursts, packets, dropped, cycles_per_packet }) =
            self.counted(event, name)
        {
            let cycles = super::maybe(cycles_per_packet);
            let _ = write!(self.text, "{bursts:>12}{packets:>14}{dropped:>11}{cycles:>15}");
        }
        if let Some(aside) = aside {
            let _ = write!(self.text, "  {aside}");
        }
        self.text.push('\n');
    }

    fn counted(&self, event: Option<Event>, name: &str) -> Option<Counted> {
        let Pipeline { stages, hooks, .. } = self.pipeline;
        if let Some(counted) = stages.iter().find(|counted| counted.stage.name() == name) {
            let PipelineStage { stage: _, bursts, packets, dropped, cycles_per_packet } = *counted;
            return Some(Counted { bursts, packets, dropped, cycles_per_packet });
        }
        let hook = hooks.iter().find(|hook| {
            *hook.name == *name
                && Some(hook.event) == event
                && hook.instance.as_deref().is_none_or(|only| only == self.instance)
        })?;
        let Hook { bursts, packets, dropped, cycles_per_packet, .. } = *hook;
        Some(Counted { bursts, packets, dropped, cycles_per_packet })
    }
}

#[cfg(test)]
mod tests {
    use sluice_control_api::PipelineEvent;

    use super::*;

    #[test]
    fn the_picture_shows_every_stage_in_order() {
        let event = |event, stages: &[Stage]| PipelineEvent {
            event,
            stages: stages.to_vec(),
            order: stages.iter().map(|stage| stage.name().into()).collect(),
        };
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
        let value = Pipeline {
            generation: 3,
            instances: vec![instance],
            stages: counters.to_vec(),
            hooks: Vec::new(),
        };
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
