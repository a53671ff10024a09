//! Captures: copies of packets, taken by the workers as they pass and told a page at a time.
//!
//! While one is open, each worker has a [`Tap`] at OBSERVING, which writes to a ring that only this
//! module reads. All memory is taken when the capture begins. It ends when it is told to, or with the
//! session of the control process that asked for it: nobody else would end it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sluice_channel::{
    CAPTURE_PAGE, CapturePage, CaptureRequest, CapturedPacket, MAX_CAPTURE_BUFFER, MAX_CAPTURED,
    MAX_SNAPLEN, Reply,
};
use sluice_dpdk::tsc;
use sluice_hooks::Hook;
use sluice_hooks::stack::HookId;
use sluice_pipelines::capture::ring::{Reader, Record, ring};
use sluice_pipelines::capture::{Tap, direction};
use sluice_pipelines::neighbour::table::NeighbourTable;
use sluice_policy::model::Name;

use super::Agent;

/// Captures at one time.
const MOST: usize = 4;

/// The captures that are open.
pub(super) struct Captures {
    open: Vec<Capture>,
    last: u32,
    neighbours: Arc<NeighbourTable>,
    /// Frequency of the time-stamp counter.
    hertz: u64,
}

struct Capture {
    number: u32,
    /// The tap, until it is taken out.
    hook: Option<HookId>,
    /// One for each worker.
    readers: Vec<Reader>,
}

impl Captures {
    /// None. Taps look link addresses up in the workers' table.
    pub(super) fn new(neighbours: Arc<NeighbourTable>, hertz: u64) -> Captures {
        Captures { open: Vec::new(), last: 0, neighbours, hertz }
    }
}

impl Agent {
    /// Answers [`Command::Capture`](sluice_channel::Command::Capture).
    pub(super) fn capture(&mut self, request: CaptureRequest) -> Reply {
        if let Err(reason) = self.check_capture(&request) {
            return Reply::Refused(vec![reason]);
        }
        let CaptureRequest { filter, snaplen, buffer_mib } = request;
        let bytes = ((buffer_mib as usize) << 20) / self.workers.len().max(1);
        let mut readers = Vec::new();
        let mut taps: Vec<Box<dyn Hook>> = Vec::new();
        for _ in 0..self.workers.len() {
            let (writer, reader) = ring(bytes, snaplen as usize);
            let neighbours = Arc::clone(&self.captures.neighbours);
            taps.push(Box::new(Tap::new(filter.clone(), writer, neighbours)));
            readers.push(reader);
        }
        self.captures.last += 1;
        let number = self.captures.last;
        let (name, instance) = (format!("capture-{number}"), filter.instance);
        let registered = self
            .with_stack(|stack, agent| stack.register_tap(agent, &name, instance, taps))
            .map_err(|error| Reply::Refused(vec![error.to_string()]));
        match registered {
            Ok(hook) => {
                tracing::info!(capture = number, "capturing");
                self.captures.open.push(Capture { number, hook: Some(hook), readers });
                Reply::Capturing { capture: number }
            }
            Err(refused) => refused,
        }
    }

    fn check_capture(&self, request: &CaptureRequest) -> Result<(), String> {
        let policy = &self.publisher.current().policy;
        let filter = &request.filter;
        if let Some(name) = &filter.instance
            && policy.instance_named(name).is_none()
        {
            return Err(format!("there is no instance `{name}`"));
        }
        if let Some(name) = &filter.interface
            && policy.port_named(name).is_none()
            && !policy.interfaces().any(|interface| interface.name == *name)
        {
            return Err(format!("there is no interface or port `{name}`"));
        }
        if !(1..=MAX_SNAPLEN).contains(&request.snaplen) {
            return Err(format!("{} bytes of a packet: 1 to {MAX_SNAPLEN}", request.snaplen));
        }
        if !(1..=MAX_CAPTURE_BUFFER).contains(&request.buffer_mib) {
            return Err(format!("{} MiB of memory: 1 to {MAX_CAPTURE_BUFFER}", request.buffer_mib));
        }
        if self.captures.open.len() >= MOST {
            return Err(format!("{MOST} captures are open already: end one"));
        }
        Ok(())
    }

    /// Answers [`Command::Captured`](sluice_channel::Command::Captured).
    pub(super) fn captured(&mut self, number: u32, stop: bool) -> Reply {
        let found = self.captures.open.iter().position(|capture| capture.number == number);
        let Some(place) = found else {
            return Reply::Refused(vec![format!("there is no capture {number}")]);
        };
        if stop {
            self.take_tap_out(place);
        }
        let clock = Clock::now(self.captures.hertz);
        let capture = &mut self.captures.open[place];
        let page = page(&mut capture.readers, &clock);
        if stop && !page.more {
            self.captures.open.swap_remove(place);
        }
        Reply::Captured(page)
    }

    /// Ends all captures: who asked for them is gone.
    pub(super) fn end_captures(&mut self) {
        for place in 0..self.captures.open.len() {
            self.take_tap_out(place);
        }
        self.captures.open.clear();
    }

    fn take_tap_out(&mut self, place: usize) {
        let capture = &mut self.captures.open[place];
        let (number, Some(hook)) = (capture.number, capture.hook.take()) else { return };
        let gone = self.with_stack(|stack, agent| stack.api(agent).unregister(hook));
        match gone {
            Ok(()) => tracing::info!(capture = number, "captured"),
            Err(error) => tracing::error!(capture = number, "{error}"),
        }
    }
}

/// What waits in the rings, in the order of time, up to a page.
fn page(readers: &mut [Reader], clock: &Clock) -> CapturePage {
    let mut page = CapturePage::default();
    let mut bytes = 0;
    while page.packets.len() < MAX_CAPTURED && bytes < CAPTURE_PAGE {
        let first = readers.iter_mut().filter_map(|r| Some((r.time()?, r))).min_by_key(|r| r.0);
        let Some(record) = first.and_then(|(_, reader)| reader.take()) else { break };
        bytes += record.bytes.len();
        page.packets.push(told(record, clock));
    }
    page.missed = readers.iter().map(Reader::missed).sum();
    page.more = readers.iter_mut().any(|reader| reader.time().is_some());
    page
}

fn told(record: Record, clock: &Clock) -> CapturedPacket {
    let [instance, interface, from, to] = record.names.map(Name::from);
    let named = |name: Name| (!name.is_empty()).then_some(name);
    CapturedPacket {
        time_ns: clock.at(record.tsc),
        direction: direction(record.direction),
        instance,
        interface: named(interface),
        from: named(from),
        to: named(to),
        dropped: record.dropped.map(|reason| reason.name().into()),
        length: record.length,
        bytes: record.bytes,
    }
}

/// The clock on the wall beside the time-stamp counter, at one moment.
struct Clock {
    wall: Duration,
    tsc: u64,
    hertz: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the time that a capture's packets bear")]
    fn now(hertz: u64) -> Clock {
        // Of a few readings the one that took the least: it was not interrupted.
        let reading = || {
            let before = tsc();
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            (tsc().wrapping_sub(before), before, wall.unwrap_or_default())
        };
        let best = [reading(), reading(), reading()].into_iter().min_by_key(|(took, ..)| *took);
        let (took, before, wall) = best.unwrap_or_default();
        Clock { wall, tsc: before.wrapping_add(took / 2), hertz }
    }

    /// Nanoseconds since 1970 at an earlier count.
    fn at(&self, tsc: u64) -> u64 {
        // One worker's counter may be ahead of ours by a little.
        let ago = self.tsc.saturating_sub(tsc);
        let ago = u128::from(ago) * 1_000_000_000 / u128::from(self.hertz.max(1));
        self.wall.as_nanos().saturating_sub(ago) as u64
    }
}

#[cfg(test)]
mod tests {
    use sluice_hooks::Direction;
    use sluice_pipelines::capture::ring::Note;

    use super::*;

    const CLOCK: Clock = Clock { wall: Duration::from_secs(10), tsc: 3_000, hertz: 1_000 };

    fn note(tsc: u64, interface: &str) -> Note<'_> {
        let names = ["default", interface, "", ""];
        Note { tsc, direction: Direction::Inbound, dropped: None, length: 9, names }
    }

    #[test]
    fn packets_of_all_workers_come_in_the_order_of_time_with_the_time_on_the_wall() {
        let (mut one, first) = ring(4096, 4);
        let (mut other, second) = ring(4096, 4);
        let mut readers = [first, second];
        let frame = [7; 9];
        for tsc in [1_000, 2_500] {
            one.push(&note(tsc, "lan"), [&frame[..]].into_iter());
        }
        other.push(&note(2_000, ""), [&frame[..]].into_iter());
        let told = page(&mut readers, &CLOCK);
        let times: Vec<u64> = told.packets.iter().map(|p| p.time_ns / 1_000_000).collect();
        assert_eq!(times, [8_000, 9_000, 9_500]);
        let first = &told.packets[0];
        assert_eq!((first.length, &first.bytes[..]), (9, &[7; 4][..]));
        assert_eq!(first.interface.as_deref(), Some("lan"));
        assert_eq!(told.packets[1].interface, None);
        assert_eq!((told.missed, told.more), (0, false));
    }

    #[test]
    fn a_page_ends_and_says_that_there_is_more() {
        let (mut writer, reader) = ring(64 << 20, 65_535);
        let mut readers = [reader];
        let frame = [0; 60_000];
        for tsc in 0..20 {
            let note = Note { length: frame.len(), ..note(tsc, "lan") };
            writer.push(&note, [&frame[..]].into_iter());
        }
        let first = page(&mut readers, &CLOCK);
        assert!(first.more && first.packets.len() < 20);
        let second = page(&mut readers, &CLOCK);
        assert_eq!((first.packets.len() + second.packets.len(), second.more), (20, false));
    }
}
