//! Showing packets, and what happens to interfaces, to a module's function.

use std::ffi::{c_int, c_void};
use std::net::IpAddr;
use std::ptr;
use std::sync::Arc;

use sluice_policy::DropReason;

use super::Foreign;
use super::frame::{Frame, number_of};
use super::message;
use super::query::write_address;
use super::types::{
    Message, hook_func_t, hook_nic_event_t, hook_pkt_event_t, hook_pkt_observe_t, mblk_t, phy_if_t,
    sockaddr,
};
use crate::context::Context;
use crate::hook::{PacketHook, Verdict};
use crate::observer::{Direction, Observer};
use crate::packet::{LinkGroup, Packet};
use crate::stack::{Api, NicChange, NicEvent, NicListener, ProtocolHandle};
use sluice_policy::{InstanceId, InterfaceId};

/// Segments of a packet that is shown; longer ones are dropped.
const SEGMENTS: usize = 16;
/// Bytes of the headers that are looked at for changes. A hook that changes bytes further on changes
/// nothing that decoding finds.
const HEADERS: usize = 128;

/// A function that a module has registered. Each worker has one of these; all of them call the same
/// function with the same argument, at the same time.
#[derive(Clone)]
pub(super) struct Registered {
    pub(super) func: hook_func_t,
    pub(super) arg: *mut c_void,
    pub(super) handle: ProtocolHandle,
    pub(super) foreign: Arc<Foreign>,
}

// SAFETY: the interface says that a hook is called on several processors at once, and that its
// argument is fit for that.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

/// The message blocks that stand for a packet in hand, the first and those of its other segments.
struct Shown {
    blocks: [(*mut Message, u32); SEGMENTS],
    count: usize,
}

impl Shown {
    fn head(&self) -> (*mut Message, u32) {
        self.blocks[0]
    }

    fn blocks(&self) -> &[(*mut Message, u32)] {
        &self.blocks[..self.count]
    }
}

pub(super) fn phy_if(id: Option<InterfaceId>) -> phy_if_t {
    id.map_or(0, |id| usize::from(id.0) + 1)
}

impl Registered {
    fn show(&self, packet: &Packet<'_>) -> Option<Shown> {
        let lent = &self.foreign.shared.lent;
        let mut shown = Shown { blocks: [(ptr::null_mut(), 0); SEGMENTS], count: 0 };
        let rest = packet.segments()?.skip(1);
        for bytes in std::iter::once(packet.bytes()).chain(rest) {
            let block = (shown.count < SEGMENTS)
                .then(|| lent.reserve(|message| message.show(bytes)))
                .flatten();
            let Some(block) = block else {
                self.end(&shown);
                return None;
            };
            if let Some((last, _)) = shown.blocks().last() {
                // SAFETY: it was reserved here, and the module has not seen it yet.
                unsafe { (**last).mblk.b_cont = block.0.cast() };
            }
            shown.blocks[shown.count] = block;
            shown.count += 1;
        }
        Some(shown)
    }

    fn end(&self, shown: &Shown) {
        for (block, turn) in shown.blocks() {
            self.foreign.shared.lent.release(*block, *turn);
        }
    }

    /// What the packet is to be now that the module has let it pass as `mp`.
    fn passed(&self, packet: &mut Packet<'_>, shown: &Shown, mp: *mut mblk_t, was: &[u8]) -> bool {
        let lent = &self.foreign.shared.lent;
        let (head, turn) = shown.head();
        let same = ptr::eq(mp, head.cast()) && lent.is_still(head, turn) && !lent.has_packet(head);
        if same && self.in_place(packet, shown) {
            if !packet.bytes().starts_with(was) {
                // Its headers are not what they were.
                let _ = packet.rewrite();
            }
            return true;
        }
        let made = message::packet(lent, mp);
        made.is_ok_and(|made| packet.replace(made).is_ok())
    }

    /// Whether the message is the packet still, as far as its blocks go; bytes that are left out at
    /// either end are cut off.
    fn in_place(&self, packet: &mut Packet<'_>, shown: &Shown) -> bool {
        let lent = &self.foreign.shared.lent;
        let mut windows = [(0, 0); SEGMENTS];
        for (place, &(block, turn)) in shown.blocks().iter().enumerate() {
            if !lent.is_still(block, turn) {
                return false;
            }
            // SAFETY: it is still reserved, and the module has returned.
            let message = unsafe { &*block };
            let next = shown.blocks().get(place + 1).map_or(ptr::null_mut(), |(next, _)| *next);
            if !ptr::eq(message.mblk.b_cont, next.cast()) {
                return false;
            }
            let Ok((from, to)) = message.window() else { return false };
            let all = message.dblk.db_lim.addr() - message.dblk.db_base.addr();
            windows[place] = (from, all - to);
        }
        match (windows[0], shown.count) {
            (_, 2..) => windows[..shown.count].iter().all(|window| *window == (0, 0)),
            ((0, 0), _) => true,
            ((front, back), _) => {
                packet.truncate(packet.length() - back);
                packet.pop(front).is_ok()
            }
        }
    }

    /// The module has the packet from now on.
    fn kept(&self, packet: Packet<'_>, shown: &Shown) -> Verdict {
        let lent = &self.foreign.shared.lent;
        let (head, _) = shown.head();
        let several = shown.count > 1;
        if let Some(mut owned) = packet.take() {
            // One that is too long to be in one buffer is not kept.
            if !several || owned.mbuf.linearise() {
                let kept = lent.put(head, owned, |message, packet| {
                    if several {
                        message.show(packet.mbuf.data());
                    }
                });
                debug_assert!(kept.is_ok(), "it was there a moment ago");
            }
        }
        for (part, turn) in shown.blocks().iter().skip(1) {
            lent.release(*part, *turn);
        }
        Verdict::Consumed
    }
}

impl PacketHook for Registered {
    fn packet(&mut self, cx: &mut Context<'_>, mut packet: Packet<'_>) -> Verdict {
        let Some(shown) = self.show(&packet) else {
            return Verdict::Drop(DropReason::HookDropped);
        };
        let mut was = [0; HEADERS];
        let headers = packet.bytes().len().min(HEADERS);
        was[..headers].copy_from_slice(&packet.bytes()[..headers]);
        let (head, turn) = shown.head();
        let mut mp: *mut mblk_t = head.cast();
        let mut event = hook_pkt_event_t {
            hpe_protocol: number_of(self.handle),
            hpe_ifp: phy_if(packet.ingress()),
            hpe_ofp: phy_if(packet.egress()),
            hpe_hdr: packet.bytes().as_ptr().cast_mut().cast(),
            hpe_mp: &raw mut mp,
            hpe_mb: head.cast(),
            hpe_flags: match packet.link_group() {
                None => 0,
                Some(LinkGroup::Multicast) => 1,
                Some(LinkGroup::Broadcast) => 2,
            },
            hpe_reserved: [ptr::null_mut(); 2],
        };
        let data = (&raw mut event).cast();
        let frame =
            Frame::worker(&self.foreign, cx, &raw mut packet, false, head.cast(), self.handle);
        // SAFETY: the code is there as long as `foreign`; what it is given lives until it returns, and
        // nothing else uses it meanwhile.
        let answer = frame.enter(|| unsafe { (self.func)(ptr::null_mut(), data, self.arg) });
        let lent = &self.foreign.shared.lent;
        if mp.is_null() {
            if lent.is_still(head, turn) {
                return self.kept(packet, &shown);
            }
            self.end(&shown);
            return match frame.has_injected() {
                true => Verdict::Consumed,
                false => Verdict::Drop(DropReason::HookDropped),
            };
        }
        if answer != 0 {
            message::free(lent, mp);
            self.end(&shown);
            return Verdict::Drop(DropReason::HookDropped);
        }
        let passed = self.passed(&mut packet, &shown, mp, &was[..headers]);
        self.end(&shown);
        if passed { Verdict::Continue } else { Verdict::Drop(DropReason::HookMalformed) }
    }
}

impl Observer for Registered {
    fn observe(&mut self, cx: &Context<'_>, packet: &Packet<'_>) {
        let (Some(observed), Some(shown)) = (packet.observed(cx), self.show(packet)) else {
            return;
        };
        let zone = |id: Option<InstanceId>| id.map_or(u32::MAX, |id| u32::from(id.0));
        let (head, _) = shown.head();
        let inet = packet.protocol() == sluice_policy::Protocol::Inet;
        let mut event = hook_pkt_observe_t {
            hpo_version: 1,
            hpo_family: super::query::address_family(inet) as u8,
            hpo_htype: match observed.direction {
                // What is dropped is shown to those alone that ask, and no C hook does.
                Direction::Inbound | Direction::Dropped => 0,
                Direction::Outbound => 1,
                Direction::Local => 2,
            },
            hpo_pktlen: observed.length as u32,
            hpo_ifindex: phy_if(observed.interface) as u32,
            hpo_grifindex: 0,
            hpo_zsrc: zone(observed.from),
            hpo_zdst: zone(observed.to),
            hpo_pkt: head.cast(),
            hpo_ctx: ptr::null_mut(),
        };
        let data = (&raw mut event).cast();
        let (cx, packet) = (ptr::from_ref(cx).cast_mut(), ptr::from_ref(packet).cast_mut());
        let frame = Frame::worker(&self.foreign, cx, packet, true, head.cast(), self.handle);
        // SAFETY: as for a packet that may be changed; the functions of the table change none that is
        // only looked at.
        frame.enter(|| unsafe { (self.func)(ptr::null_mut(), data, self.arg) });
        self.end(&shown);
    }
}

/// `NE_PLUMB` and those that follow it.
const NE_PLUMB: c_int = 1;
const NE_UNPLUMB: c_int = 2;
const NE_UP: c_int = 3;
const NE_DOWN: c_int = 4;
const NE_ADDRESS_CHANGE: c_int = 5;

impl NicListener for Registered {
    fn changed(&self, api: &mut Api<'_>, event: &NicEvent) {
        let mut address = sockaddr([0; 128]);
        let (number, ip): (c_int, Option<IpAddr>) = match &event.change {
            NicChange::Plumb => (NE_PLUMB, None),
            NicChange::Unplumb => (NE_UNPLUMB, None),
            NicChange::Up => (NE_UP, None),
            NicChange::Down => (NE_DOWN, None),
            NicChange::AddressAdded(net) => (NE_ADDRESS_CHANGE, Some(net.addr())),
            NicChange::AddressRemoved(_) => (NE_ADDRESS_CHANGE, None),
            // The original has no such event.
            NicChange::Mtu(_) => return,
        };
        let length = ip.map_or(0, |ip| write_address(&mut address.0, ip));
        let mut nic = hook_nic_event_t {
            hne_protocol: number_of(event.protocol),
            hne_nic: phy_if(Some(event.interface)),
            hne_lif: 0,
            hne_event: number,
            hne_data: if length > 0 { (&raw mut address).cast() } else { ptr::null_mut() },
            hne_datalen: length,
        };
        let data = (&raw mut nic).cast();
        let frame = Frame::agent(&self.foreign, api);
        // SAFETY: the code is there as long as `foreign`; the event lives until it returns.
        frame.enter(|| unsafe { (self.func)(ptr::null_mut(), data, self.arg) });
    }
}
