//! Limits how many TCP connections a source may open a second: SYNs beyond that are dropped.
//!
//! Each worker has a table of its own, of a fixed size: a set of [`WAYS`] places for each hash, in
//! which the source that has been quiet longest gives way. The hash is keyed, so that nobody can
//! choose addresses that fall into one set; who floods from more addresses than fit is let through
//! at the full rate of each, as somebody new.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use sluice_dpdk::tsc_hz;
use sluice_hooks::{
    Context, Made, Packet, PacketHook, PerPacket, Program, ProgramError, TokenBucket, Verdict,
};
use sluice_packet::{Fragment, protocol};

use crate::ON_THE_WAY;

/// Sets of the table, a power of two.
const SETS: usize = 1 << 12;
/// Sources in a set.
const WAYS: usize = 4;
/// A SYN without ACK: the first packet of a connection (RFC 9293 section 3.5).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

#[derive(Clone, Copy)]
struct Source {
    address: u128,
    bucket: TokenBucket,
    last: u64,
}

/// The sources that one worker has seen.
pub struct SynLimit {
    sets: Box<[[Option<Source>; WAYS]]>,
    hash: RandomState,
    fresh: TokenBucket,
}

impl SynLimit {
    /// At most `rate` SYNs a second of one source, and `burst` at once; `hertz` is the frequency of
    /// the clock.
    pub fn new(rate: u64, burst: u64, hertz: u64) -> SynLimit {
        SynLimit {
            sets: vec![[None; WAYS]; SETS].into_boxed_slice(),
            hash: RandomState::new(),
            fresh: TokenBucket::new(rate, burst, hertz),
        }
    }

    /// Whether `address` may open a connection at time `now`.
    fn may(&mut self, address: u128, now: u64) -> bool {
        let set = &mut self.sets[self.hash.hash_one(address) as usize & (SETS - 1)];
        let known = set.iter().position(|s| s.is_some_and(|s| s.address == address));
        let place = known.unwrap_or_else(|| {
            let quiet = |&way: &usize| set[way].map_or(0, |source: Source| source.last);
            (0..WAYS).min_by_key(quiet).unwrap_or(0)
        });
        let fresh = Source { address, bucket: self.fresh, last: now };
        let source = match known {
            Some(_) => set[place].get_or_insert(fresh),
            None => set[place].insert(fresh),
        };
        source.last = now;
        source.bucket.take(now)
    }
}

impl PacketHook for SynLimit {
    fn packet(&mut self, cx: &mut Context<'_>, packet: Packet<'_>) -> Verdict {
        let d = packet.descriptor();
        let opens = d.key.protocol == protocol::TCP
            && d.fragment != Fragment::Later
            && d.tcp_flags & (SYN | ACK) == SYN;
        if !opens {
            return Verdict::Continue;
        }
        if self.may(d.key.src, cx.now) {
            cx.count(ADMITTED, 1);
            return Verdict::Continue;
        }
        Verdict::DropAs(TOO_MANY)
    }
}

/// Places of the counters.
const ADMITTED: usize = 0;
const TOO_MANY: usize = 1;

/// `sluice hook load syn-limit --event physical-in --set rate=10`
pub const PROGRAM: Program = Program {
    name: "syn-limit",
    summary: "limits the TCP connections that one source may open a second",
    settings: &[
        ("rate", "SYNs a second of one source, on each worker; 100 unless given"),
        ("burst", "SYNs at once; twice the rate unless given"),
    ],
    events: ON_THE_WAY,
    make: |settings| {
        let within = |n: &u64| match n {
            1..=1_000_000 => Ok(()),
            _ => Err("1 to 1000000 are possible".to_owned()),
        };
        let rate = settings.get("rate", 100, within)?;
        let burst = settings.get("burst", rate * 2, within)?;
        made(rate, burst)
    },
};

fn made(rate: u64, burst: u64) -> Result<Made, ProgramError> {
    let hertz = tsc_hz();
    Ok(Made::new(move || PerPacket(SynLimit::new(rate, burst, hertz)))
        .with_counters(&["admitted", "too-many"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_burst_and_then_its_rate() {
        let mut limit = SynLimit::new(10, 5, 1000);
        assert_eq!((0..100).filter(|_| limit.may(1, 1)).count(), 5);
        assert_eq!((0..100).filter(|_| limit.may(2, 1)).count(), 5, "another one has its own");
        assert_eq!((0..100).filter(|_| limit.may(1, 1001)).count(), 5, "a second later: its depth");
        assert_eq!((0..100).filter(|_| limit.may(1, 1101)).count(), 1, "a tenth later: one");
    }

    #[test]
    fn a_flood_of_sources_does_not_grow_and_forgets_the_quiet_first() {
        let mut limit = SynLimit::new(10, 1, 1000);
        assert!(limit.may(7, 1));
        for address in 100..200_000 {
            limit.may(address, 2);
        }
        let places: usize = limit.sets.iter().map(|set| set.iter().flatten().count()).sum();
        assert!(places <= SETS * WAYS);
        assert!(limit.may(7, 3), "forgotten, and somebody new");
    }
}
