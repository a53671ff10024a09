//! The flow stage: finds each packet's connection, and lets what is known of it take the short way.
//!
//! It stands at PHYSICAL_IN, ahead of the other stages ([`Flows::find`]). A packet whose connection
//! is in the table is *tracked*: its state ([`ConnectionState`]) is what filters match on. If beside
//! that the decisions about packets like it are remembered, it is *known*
//! ([`Burst::known`](sluice_hooks::Burst::known)): its way is set, and the stages that follow leave
//! it alone. Authors' hooks see it all the same. When packets leave ([`Flows::leave`]), those of no
//! connection get one, and the known ones are counted at the rules that let them pass.
//!
//! What is remembered is a [`Path`], and it holds for packets that equal the one it was made for in
//! all that the instance's rules look at ([`Consulted`]), as long as nothing has moved that it was
//! decided by ([`sluice_policy::Policy::moved`]). When something has, the decision alone is taken
//! again, by the evaluator that everyone calls, for the next packet of the connection or when the
//! clock hand comes by: the connection and its state live on. `docs/adr/0016-flow-table.md` has the
//! reasons.

mod decide;
mod errand;
mod limits;
mod path;
mod shown;

use sluice_dpdk::{BURST, Mbuf};
use sluice_flow::{Fate, Half, HalfId, Likeness, NO_PATH, Strictness, Table};
use sluice_hooks::{Burst, Context, Hook, HookOrder, Parts, Way};
use sluice_packet::{
    ConnectionState, Consulted, Descriptor, DescriptorFlags, Fragment, Mask, Quoted, TcpSegment,
    checksum, protocol,
};
use sluice_policy::{Event, Instance, InstanceId, Moved, NoRecorder, Policy, RouteDecision};

use decide::Decision;
pub use errand::{Errand, FlowRecord, KnownWay, Wanted};
use limits::Limited;
pub use path::Rules;
use path::{PathId, Paths};
use shown::Showing;

/// The flow stage's place in the order of hooks. The pipeline runs the stage itself, since it has a
/// part where packets leave, too.
pub struct FlowStage;

impl Hook for FlowStage {
    fn process(&mut self, _: &mut Context<'_>, _: &mut Burst, _: Mask) {}
}

/// The connections of one worker, and what is remembered about their packets.
pub struct Flows {
    table: Table,
    paths: Paths,
    /// The halves that the packets of the burst in hand belong to.
    found: [HalfId; BURST],
    /// The path that most of the known ones have, and those that have another.
    common: PathId,
    others: Mask,
    known: [PathId; BURST],
    /// What most known packets of the burst before were like.
    usual: Likeness,
    /// Packets of the burst in hand that begin a connection if they leave.
    beginning: Mask,
    /// Those of connections that hooks are being shown.
    shown: Mask,
    /// Those about which what was decided can be remembered.
    simple: Mask,
}

/// What packets are judged by in one burst.
struct Judging<'a, 'b> {
    cx: &'a Context<'b>,
    order: &'a HookOrder,
    consulted: Consulted,
    strict: Strictness,
    showing: Showing,
    /// The low bits of the policy's edition.
    edition: u32,
}

impl Flows {
    /// Over an empty table.
    pub fn new(table: Table) -> Flows {
        Flows {
            table,
            paths: Paths::new(),
            found: [HalfId::NONE; BURST],
            common: Paths::NONE,
            others: Mask::EMPTY,
            known: [Paths::NONE; BURST],
            usual: Likeness::NONE,
            beginning: Mask::EMPTY,
            shown: Mask::EMPTY,
            simple: Mask::EMPTY,
        }
    }

    /// Nothing begins with the burst that comes: its packets are not looked up.
    #[inline]
    pub(crate) fn pass_over(&mut self) {
        (self.beginning, self.shown) = (Mask::EMPTY, Mask::EMPTY);
    }

    /// Tracks packets of one instance, and says which of them are known; where the first packets of
    /// flows are to be shown to a hook, those are not.
    #[inline(always)]
    pub(crate) fn find(
        &mut self,
        cx: &Context<'_>,
        order: &HookOrder,
        burst: &mut Burst,
        packets: Mask,
    ) {
        let (instance, policy) = (cx.instance, cx.policy);
        let strict = if instance.tracks() { Strictness::Strict } else { Strictness::Loose };
        let consulted = instance.consults();
        let (edition, showing) = (policy.edition() as u32, Showing::of(order, instance.id));
        let judging = Judging { cx, order, consulted, strict, showing, edition };
        // A hook that chooses ways and wants every packet is asked for each.
        let remembers = !order.shows_each_at(instance.id, Event::RouteDecision);
        let fits = burst.longest() <= policy.least_mtu();
        self.pass_over();
        let simple =
            if remembers { burst.plain() | simple(burst, packets, consulted) } else { Mask::EMPTY };
        self.simple = simple;

        // Most packets of a burst are like those of the burst before, of which is known what to do.
        let usual = self.usual;
        let holds = self.paths.get(usual.path(), judging.edition).is_some();
        let current = holds & (usual.edition() == judging.edition);
        let quick =
            if current && fits && consulted.traffic_class == 0 { simple } else { Mask::EMPTY };
        let mut known = Mask::EMPTY;
        let descriptor = |slot| burst.descriptor(slot);
        let (instance_id, found) = (instance.id.0, &mut self.found);
        self.table.recognise(packets, instance_id, cx.now, descriptor, found, |slot, half, d| {
            let is_usual =
                quick.contains(slot) & (half.likeness() == usual) & (d.ingress == usual.ingress());
            if is_usual {
                known.insert(slot);
            }
            is_usual
        });
        if consulted.state && (known != packets || order.has_authors(instance.id)) {
            for slot in known {
                burst.set_state(slot, usual.state());
            }
        }

        let mut others = Mask::EMPTY;
        // Most packets of a burst have one path.
        let mut common = if known.is_empty() { Paths::NONE } else { usual.path() };
        let mut strangers = Mask::EMPTY;
        for slot in packets & !known {
            let id = self.found[slot];
            if id.is_none() {
                strangers.insert(slot);
                continue;
            }
            let d = burst.descriptor(slot);
            let state = match self.table.pass(id, d, cx.now) {
                Some(state) => state,
                None => self.track(&judging, burst, slot),
            };
            if consulted.state {
                burst.set_state(slot, state);
            }
            // Nothing is remembered of what is invalid: others could undo what is.
            if !simple.contains(slot) || state == ConnectionState::Invalid {
                continue;
            }
            let d = burst.descriptor(slot);
            let half = self.table.half(id);
            let mut path = half.path;
            let current = (half.edition == judging.edition) & answers(half, d, state, consulted);
            if !current || (path != common && self.paths.get(path, judging.edition).is_none()) {
                path = self.decide(&judging, slot, d, state);
            }
            if path == common && path != Paths::NONE && fits {
                known.insert(slot);
                let half = self.table.half(id);
                if half.is_steady() {
                    self.usual = half.likeness();
                }
                continue;
            }
            let Some(kept) = self.paths.get(path, judging.edition) else { continue };
            if !fits && d.l3_length > kept.path.mtu {
                continue;
            }
            known.insert(slot);
            if common == Paths::NONE {
                common = path;
            }
            if path != common {
                self.known[slot] = path;
                others.insert(slot);
            }
        }
        if !strangers.is_empty() {
            self.meet(&judging, burst, strangers);
        }
        self.settle(burst, packets, known, others, common, judging.edition);
    }

    /// Sets the ways of known packets: those of `others` have a path of their own, the rest the
    /// common one.
    #[inline]
    fn settle(
        &mut self,
        burst: &mut Burst,
        packets: Mask,
        known: Mask,
        others: Mask,
        common: PathId,
        edition: u32,
    ) {
        (self.common, self.others) = (common, others);
        let Some(first) = known.into_iter().next() else { return };
        // A path is gone when another one of the same burst has taken its place.
        let way = |path| {
            let kept = self.paths.get(path, edition)?;
            Some((Way::NextHop(kept.next_hop), kept.path.hop.interface))
        };
        if others.is_empty() && known == packets && packets == burst.live() {
            let Some((way, egress)) = way(common) else { return };
            burst.set_way(first, way, egress);
            burst.set_alike(first);
            burst.set_known(known);
            return;
        }
        let mut lost = Mask::EMPTY;
        for slot in known {
            let path = if others.contains(slot) { self.known[slot] } else { common };
            match way(path) {
                Some((way, egress)) => burst.set_way(slot, way, egress),
                None => lost.insert(slot),
            }
        }
        burst.set_known(known & !lost);
    }

    /// A packet that may move more of its connection than counters.
    #[inline(never)]
    fn track(&mut self, judging: &Judging<'_, '_>, burst: &Burst, slot: usize) -> ConnectionState {
        let d = burst.descriptor(slot);
        let segment = segment(burst, slot, d);
        self.table.track(self.found[slot], d, segment.as_ref(), judging.strict, judging.cx.now)
    }

    /// Packets of no connection: what state they are in, and which of them begin one.
    #[inline(never)]
    fn meet(&mut self, judging: &Judging<'_, '_>, burst: &mut Burst, packets: Mask) {
        for slot in packets {
            let Some(Parts { mbuf, descriptor: d }) = burst.parts(slot) else { continue };
            d.state = if Quoted::may_quote(d) {
                self.state_of_error(judging, mbuf, d)
            } else {
                let state = Table::classify(d, judging.strict);
                // What is not as its sender made it opens nothing.
                let forged = judging.strict == Strictness::Strict
                    && state == ConnectionState::New
                    && d.fragment == Fragment::Whole
                    && checksum::verify(d, mbuf.segments()).is_err();
                if forged { ConnectionState::Invalid } else { state }
            };
            if d.state == ConnectionState::New && d.fragment != Fragment::Later {
                self.beginning.insert(slot);
            }
        }
    }

    /// The state of an ICMP error: that of the connection which it quotes a packet of.
    #[cold]
    #[inline(never)]
    fn state_of_error(
        &self,
        judging: &Judging<'_, '_>,
        mbuf: &Mbuf,
        d: &Descriptor,
    ) -> ConnectionState {
        let (instance, now) = (judging.cx.instance.id.0, judging.cx.now);
        let Some(quoted) = Quoted::read(d, mbuf.data()) else {
            return Table::classify(d, judging.strict);
        };
        match self.table.related(d, &quoted, instance, now) {
            Some(_) => ConnectionState::Related,
            None if judging.strict == Strictness::Strict => ConnectionState::Invalid,
            None => ConnectionState::Untracked,
        }
    }

    /// Takes the decision about a packet again, as far as something has moved or it differs from
    /// the one that was decided about. Yields its path, if it has one; one that hooks are to be shown
    /// first has none.
    #[cold]
    #[inline(never)]
    fn decide(
        &mut self,
        judging: &Judging<'_, '_>,
        slot: usize,
        d: &Descriptor,
        state: ConnectionState,
    ) -> PathId {
        let Judging { cx, order, consulted, edition, showing, .. } = *judging;
        let half = self.table.half_mut(self.found[slot]);
        if showing.is_due(half, d, cx.policy, &self.paths) {
            half.state = state;
            self.shown.insert(slot);
            return Paths::NONE;
        }
        if half.path != NO_PATH
            && answers(half, d, state, consulted)
            && holds(cx.policy, cx.instance, half, d, &mut self.paths)
        {
            half.edition = edition;
            return half.path;
        }
        let chosen = showing.chosen(half, &self.paths);
        let path = match decide::about(cx.policy, cx.instance, order, d, chosen) {
            Decision::Path(path) => self.paths.take(path, cx.policy),
            Decision::Denied | Decision::Other => None,
        };
        keep(half, path, cx.policy, &Descriptor { state, ..*d });
        half.path
    }

    /// Packets leave: those that begin a connection have begun it, and those that are known count
    /// at the rules of their path. Yields those that stay because some rule's limit does not let
    /// their connection begin.
    #[inline]
    pub(crate) fn leave(
        &mut self,
        cx: &Context<'_>,
        order: &HookOrder,
        burst: &Burst,
        leaving: Mask,
    ) -> Mask {
        if !(self.shown & leaving).is_empty() {
            // First: a connection that begins may take the place of one of theirs.
            self.remember_shown(cx, order, burst, self.shown & leaving);
        }
        let mut beginning = self.beginning & leaving & !burst.changed();
        let mut over = Mask::EMPTY;
        if !beginning.is_empty() {
            if cx.instance.limits() {
                over = self.begin_limited(cx, burst, &mut beginning);
            }
            self.begin(cx, order, burst, beginning);
        }
        let known = leaving & burst.known();
        let mut counters = cx.rule_counters();
        let length = |slot| u64::from(burst.descriptor(slot).l3_length);
        let most = known & !self.others;
        if self.paths.counts(self.common) {
            let bytes = most.into_iter().map(length).sum();
            self.paths.count(self.common, most.len() as u64, bytes, &mut counters);
        }
        for slot in known & self.others {
            self.paths.count(self.known[slot], 1, length(slot), &mut counters);
        }
        over
    }

    /// Begins the connections of those of `packets` that rules limit, and takes them out of them.
    /// Yields those that may not begin one.
    #[cold]
    #[inline(never)]
    fn begin_limited(&mut self, cx: &Context<'_>, burst: &Burst, packets: &mut Mask) -> Mask {
        let instance = cx.instance.id.0;
        let mut over = Mask::EMPTY;
        for slot in *packets {
            let d = burst.descriptor(slot);
            let limited = Limited::of(cx.policy, cx.instance, d, burst.egress(slot));
            // An earlier packet of the burst may have begun the connection.
            self.table.find(Mask::only(slot), instance, cx.now, |_| d, &mut self.found);
            if limited.is_empty() || !self.found[slot].is_none() {
                continue;
            }
            packets.remove(slot);
            let segment = segment(burst, slot, d);
            let allowed = limited.allow(&mut self.table, d, cx.now)
                && self
                    .table
                    .insert(d, instance, segment.as_ref(), cx.now)
                    // What finds no room is not remembered, and there is nothing to count.
                    .is_none_or(|inserted| limited.hold(&mut self.table, inserted.id));
            if !allowed {
                over.insert(slot);
            }
        }
        over
    }

    #[inline(never)]
    fn begin(&mut self, cx: &Context<'_>, order: &HookOrder, burst: &Burst, packets: Mask) {
        // Hooks have been shown these already.
        let shown = order.shows_first(cx.instance.id);
        let remembered = if shown { packets & self.simple } else { Mask::EMPTY };
        self.table.prepare(packets, cx.instance.id.0, |slot| burst.descriptor(slot));
        for slot in packets {
            let d = burst.descriptor(slot);
            let segment = segment(burst, slot, d);
            let inserted = self.table.insert(d, cx.instance.id.0, segment.as_ref(), cx.now);
            let Some(inserted) = inserted else { continue };
            // Others of the same burst may be of a connection that the first of them has begun.
            if !inserted.new {
                self.table.track(inserted.id, d, segment.as_ref(), Strictness::Loose, cx.now);
            } else if remembered.contains(slot) {
                self.remember(cx, order, burst, slot, inserted.id, d.state);
            }
        }
        self.beginning = Mask::EMPTY;
    }

    /// Lets the clock hand go on, by no more than a few connections. Those that are silent are
    /// judged by what policy is now: one that would be denied ends.
    #[inline]
    pub(crate) fn tend(&mut self, policy: &Policy, order: &HookOrder, now: u64) {
        let Flows { table, paths, .. } = self;
        if table.timeouts() != policy.timeouts() {
            table.set_timeouts(*policy.timeouts());
        }
        table.tend(now, PACE, |_, half| {
            let aside = matches!(half.path, NO_PATH | Paths::NONE);
            if aside || policy.moved().is_current(half.edition) {
                return Fate::Keep;
            }
            judge_silent(policy, order, half, paths)
        });
    }
}

#[cold]
#[inline(never)]
fn judge_silent(policy: &Policy, order: &HookOrder, half: &mut Half, paths: &mut Paths) -> Fate {
    let Some(instance) = policy.instance(InstanceId(half.key().instance())) else {
        return Fate::End;
    };
    let d = of_half(half);
    let showing = Showing::of(order, instance.id);
    if showing.is_due(half, &d, policy, paths) {
        // Where hooks choose ways, only they know what there is to judge.
        let asked = !showing.ways;
        if asked && matches!(decide::about(policy, instance, order, &d, None), Decision::Denied) {
            return Fate::End;
        }
        half.path = NO_PATH;
        return Fate::Keep;
    }
    if !holds(policy, instance, half, &d, paths) {
        match decide::about(policy, instance, order, &d, showing.chosen(half, paths)) {
            Decision::Path(path) => half.path = paths.take(path, policy).unwrap_or(Paths::NONE),
            Decision::Denied => return Fate::End,
            Decision::Other => half.path = Paths::NONE,
        }
    }
    half.edition = policy.edition() as u32;
    Fate::Keep
}

/// A packet as the one that was decided about, in the state that the connection has by now: one side
/// may have been silent since the other answered.
fn of_half(half: &Half) -> Descriptor {
    let state = match half.is_answered() {
        true => ConnectionState::Established,
        false => half.state,
    };
    let mut key = half.key().flow_key();
    let icmp = matches!(key.protocol, protocol::ICMP | protocol::ICMPV6);
    let icmp_type = if icmp { std::mem::take(&mut key.dst_port) as u8 } else { 0 };
    Descriptor {
        key,
        ingress: half.ingress,
        traffic_class: half.traffic_class,
        tcp_flags: half.tcp_flags,
        icmp_type,
        state,
        hop_limit: u8::MAX,
        ..Descriptor::default()
    }
}

/// Keeps what was decided about a packet.
fn keep(half: &mut Half, path: Option<PathId>, policy: &Policy, d: &Descriptor) {
    half.path = path.unwrap_or(Paths::NONE);
    half.edition = policy.edition() as u32;
    half.ingress = d.ingress;
    half.traffic_class = d.traffic_class;
    half.tcp_flags = d.tcp_flags;
    half.state = d.state;
}

/// Whether what was decided under an earlier policy still holds under this one.
fn holds(
    policy: &Policy,
    instance: &Instance,
    half: &Half,
    d: &Descriptor,
    paths: &mut Paths,
) -> bool {
    let moved = policy.moved().since(half.edition, d.key.family, d.key.dst);
    if !Moved::ROUTES.contains(moved) {
        return false;
    }
    if half.path == Paths::NONE {
        return moved.is_empty();
    }
    let Some(next_hop) = paths.renew(half.path, policy) else { return false };
    moved.is_empty() || instance.route(d, &mut NoRecorder) == RouteDecision::Forward(next_hop)
}

/// Whether what was decided about a direction of a connection holds for a packet of it, as far as the
/// packet goes.
#[inline(always)]
fn answers(half: &Half, d: &Descriptor, state: ConnectionState, consulted: Consulted) -> bool {
    let flags = (half.tcp_flags ^ d.tcp_flags) & consulted.tcp_flags;
    let class = (half.traffic_class ^ d.traffic_class) & consulted.traffic_class;
    (half.ingress == d.ingress) & (half.state == state) & (flags | class == 0)
}

/// Connections that the clock hand looks at in one turn of a worker.
const PACE: usize = 16;

/// What the tracker asks of a TCP segment.
#[inline]
fn segment(burst: &Burst, slot: usize, d: &Descriptor) -> Option<TcpSegment> {
    if d.key.protocol != protocol::TCP {
        return None;
    }
    TcpSegment::read(d, burst.mbuf(slot)?.data())
}

/// Those of `packets`, plain ones aside, that nothing has to be asked of that plain packets are not
/// asked either.
#[inline]
fn simple(burst: &Burst, packets: Mask, consulted: Consulted) -> Mask {
    let flags = DescriptorFlags::all() - DescriptorFlags::DONT_FRAGMENT;
    let mut simple = Mask::EMPTY;
    for slot in packets & !burst.plain() {
        let d = burst.descriptor(slot);
        let whole = d.fragment == Fragment::Whole && d.hop_limit > 1;
        if whole && !d.flags.intersects(flags) && d.icmp_code & consulted.icmp_code == 0 {
            simple.insert(slot);
        }
    }
    simple
}
