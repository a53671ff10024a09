//! Later fragments follow their first.
//!
//! A later fragment carries no ports (RFC 791 section 3.2), so that a policy route on ports could
//! tear a datagram apart. Where some policy route of an instance looks at the ports of a protocol,
//! each worker keeps what first fragments say ([`table`]), and a later one is matched by its
//! first's ports ([`DescriptorFlags::FIRST_KNOWN`]); all else it carries itself. One that comes
//! before its first waits for it, [`PATIENCE`] at most; then it is routed by what can be seen of
//! it, as it is where too many wait already.
//!
//! Where connections are tracked, all fragments are followed, ahead of the first stage: a later one
//! belongs to the connection of its first, and one without a first to none.
//!
//! Memory is fixed when the worker starts; both what is kept and what waits is bounded in all, for
//! each source, and in time. All fragments of a datagram come to one worker as long as they come
//! by one port: receive queues are chosen without ports for fragments.

pub mod table;

use std::collections::VecDeque;
use std::time::Duration;

use sluice_dpdk::Mbuf;
use sluice_hooks::{Burst, Context, Metadata, Way};
use sluice_packet::{Descriptor, DescriptorFlags, Family, Fragment, Mask, fragment};
use sluice_policy::{DropReason, InstanceId};

use table::{Datagram, First, Table};

/// How long what a first fragment says is kept.
pub const KEPT: Duration = Duration::from_secs(2);
/// How long a fragment waits for its first.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// Fragments that one worker lets wait.
pub const CAPACITY: usize = 128;
/// Fragments of one datagram that wait.
pub const PER_DATAGRAM: usize = 48;
/// Fragments of one source that wait.
pub const PER_SOURCE: usize = 64;

/// A fragment that waits for its first.
struct Waiting {
    mbuf: Mbuf,
    descriptor: Descriptor,
    metadata: Metadata,
    instance: InstanceId,
    datagram: Datagram,
    source: u32,
    deadline: u64,
    /// Whether it was taken ahead of PHYSICAL_IN, and goes on from there.
    early: bool,
    /// What its first said, once that came.
    first: Option<First>,
}

/// What one worker knows of datagrams in pieces.
pub struct Fragments {
    table: Table,
    queue: VecDeque<Waiting>,
    /// Whether the first fragment of something that waits has come.
    ready: bool,
    /// In cycles of the time-stamp counter.
    kept: u64,
    patience: u64,
    interval: u64,
    next_look: u64,
}

impl Fragments {
    /// `hertz` is the frequency of the time-stamp counter.
    pub fn new(hertz: u64) -> Fragments {
        Fragments {
            table: Table::default(),
            queue: VecDeque::with_capacity(CAPACITY),
            ready: false,
            kept: hertz * KEPT.as_secs(),
            patience: hertz / 1000 * PATIENCE.as_millis() as u64,
            interval: hertz / 1000,
            next_look: 0,
        }
    }

    /// Fragments that wait.
    pub fn held(&self) -> usize {
        self.queue.len()
    }

    /// Learns from the first fragments among packets of one instance, marks later ones of which
    /// the first is known, and takes those out of the burst that have to wait.
    #[cold]
    ///
    /// `early` says that this is ahead of PHYSICAL_IN.
    pub fn process(&mut self, cx: &Context<'_>, burst: &mut Burst, packets: Mask, early: bool) {
        for slot in packets {
            let d = *burst.descriptor(slot);
            let followed = cx.instance.tracks() || cx.instance.steers_by_ports(&d);
            if d.fragment == Fragment::Whole || !followed {
                continue;
            }
            let Some(datagram) = datagram(cx, burst, slot) else { continue };
            if d.fragment == Fragment::First {
                self.learn(datagram, &d, cx.now);
            } else if let Some(first) = self.table.find(&datagram, cx.now) {
                burst.set_descriptor(slot, following(d, first));
            } else {
                self.wait(cx, burst, slot, datagram, early);
            }
        }
    }

    fn learn(&mut self, datagram: Datagram, d: &Descriptor, now: u64) {
        let first =
            First { protocol: d.key.protocol, src_port: d.key.src_port, dst_port: d.key.dst_port };
        self.table.learn(datagram, first, now, now + self.kept);
        for waiting in self.queue.iter_mut().filter(|waiting| waiting.datagram == datagram) {
            waiting.first = Some(first);
            self.ready = true;
        }
    }

    fn wait(
        &mut self,
        cx: &Context<'_>,
        burst: &mut Burst,
        slot: usize,
        datagram: Datagram,
        early: bool,
    ) {
        let source = self.table.source(&datagram);
        let of_datagram = self.queue.iter().filter(|other| other.datagram == datagram).count();
        let of_source = self.queue.iter().filter(|other| other.source == source).count();
        let full = self.queue.len() >= CAPACITY;
        if full || of_datagram >= PER_DATAGRAM || of_source >= PER_SOURCE {
            return;
        }
        let (descriptor, instance) = (*burst.descriptor(slot), burst.instance(slot));
        let metadata = burst.metadata(slot);
        let Some(mbuf) = burst.take(slot) else { return };
        let deadline = cx.now + self.patience;
        let waiting = Waiting {
            mbuf,
            descriptor,
            metadata,
            instance,
            datagram,
            source,
            deadline,
            early,
            first: None,
        };
        self.queue.push_back(waiting);
    }

    /// Whether fragments have waited long enough, or what they wait for has come. Time is looked
    /// at every millisecond.
    #[inline]
    pub fn due(&mut self, now: u64) -> bool {
        if self.queue.is_empty() || (!self.ready && now < self.next_look) {
            return false;
        }
        self.next_look = now + self.interval;
        true
    }

    /// Moves fragments that need not wait any longer into `burst`, as long as it has room; those
    /// that were taken early or the others. The caller takes them on from where they were taken.
    pub fn release(&mut self, now: u64, early: bool, burst: &mut Burst) {
        let mut place = 0;
        while burst.live() != Mask::ALL {
            let Some(waiting) = self.queue.get(place) else {
                self.ready = false;
                return;
            };
            let ready = waiting.first.is_some() || waiting.deadline <= now;
            if !ready || waiting.early != early {
                place += 1;
                continue;
            }
            let Some(waiting) = self.queue.remove(place) else { return };
            let Waiting { mbuf, descriptor, metadata, instance, first, .. } = waiting;
            let descriptor = first.map_or(descriptor, |first| following(descriptor, first));
            let Ok(slot) = burst.push(mbuf, descriptor, Way::Undecided) else { return };
            burst.set_instance(slot, instance);
            burst.set_metadata(slot, &metadata);
        }
    }

    /// Frees everything that waits, counting it as dropped: the worker is stopping.
    pub fn clear(&mut self, mut dropped: impl FnMut(DropReason)) {
        while self.queue.pop_front().is_some() {
            dropped(DropReason::FragmentWaiting);
        }
    }
}

/// A later fragment with what its first says.
fn following(mut d: Descriptor, first: First) -> Descriptor {
    d.key.protocol = first.protocol;
    d.key.src_port = first.src_port;
    d.key.dst_port = first.dst_port;
    d.flags |= DescriptorFlags::FIRST_KNOWN;
    d
}

/// The datagram that a fragment is of.
fn datagram(cx: &Context<'_>, burst: &Burst, slot: usize) -> Option<Datagram> {
    let d = burst.descriptor(slot);
    let packet = burst.mbuf(slot)?.data().get(usize::from(d.l3_offset)..)?;
    Some(Datagram {
        instance: cx.instance.id,
        family: d.key.family,
        protocol: if d.key.family == Family::Inet { d.key.protocol } else { 0 },
        identification: fragment::identification(packet, d.key.family)?,
        src: d.key.src,
        dst: d.key.dst,
    })
}

#[cfg(test)]
mod tests;
