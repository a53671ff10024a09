//! Which worker a packet belongs to, and its way there.
//!
//! Whatever a worker remembers of a flow — its connection, what its first fragments said, packets that
//! wait — it remembers alone, so all packets of a flow, in both directions, have to come to one worker
//! by whatever port and queue they arrive. The owner is a function of the two addresses, the same
//! whichever is the source: a later fragment has no more than these, so the fragments of a datagram,
//! the whole packets of their flow and those of the other direction meet. An ICMP error belongs to the
//! flow of the packet that it quotes. What is not IP stays where it arrived.
//!
//! The function is the Toeplitz hash of receive-side scaling, with the symmetric key that ports are
//! given, over addresses: a device that spreads packets over as many queues as there are workers puts
//! most of them where they belong. All others are handed over ahead of decoding: by the worker that
//! polled them, through a bounded ring with one writer and one reader, to the owner, which decodes and
//! counts them as if it had polled them. Packets of one flow stay in order: what one worker polls goes
//! to one owner, through one ring. A worker that stands still fills the rings that lead to it; what
//! does not fit is dropped by name, and nobody waits. [ADR 18](../../docs/adr/0018-flows-have-owners.md)
//! has the reasons.

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::{BURST, Mbuf, RSS_KEY_WORD, free_bulk};
use sluice_hooks::count_drops;
use sluice_packet::{Mask, ethernet, icmp, icmpv6, ipv4, ipv6, protocol};
use sluice_policy::{DropReason, PortId};

/// Owners are told apart by so many bits of the hash: the least that devices look at.
const BUCKETS: u32 = 128;
/// So many packets ahead of the one that is looked at, headers are fetched into the cache.
const AHEAD: usize = 4;

/// A packet on its way to the worker that it belongs to.
struct Strayed {
    /// The port that it came in by.
    port: PortId,
    mbuf: Mbuf,
}

/// One worker's end of the rings between workers. A dataplane with one worker has none.
pub struct Spread {
    own: u16,
    owners: [u16; BUCKETS as usize],
    /// By worker; none to this one.
    to: Vec<Option<Producer<Strayed>>>,
    from: Vec<Source>,
    handed_to: Mask,
}

/// A ring that leads here.
struct Source {
    ring: Consumer<Strayed>,
    /// Packets that it held when it was last looked at, and that have not been taken since.
    seen: usize,
}

impl Spread {
    /// The ends for so many workers, joined from each to each by a ring that takes `ring` packets; none
    /// for a single one.
    pub fn between(workers: usize, ring: usize) -> Vec<Option<Spread>> {
        if workers < 2 {
            return (0..workers).map(|_| None).collect();
        }
        let owners = std::array::from_fn(|bucket| (bucket % workers) as u16);
        let spread = |own| {
            let (to, from) = (Vec::with_capacity(workers), Vec::with_capacity(workers - 1));
            Spread { own: own as u16, owners, to, from, handed_to: Mask::EMPTY }
        };
        let mut all: Vec<Spread> = (0..workers).map(spread).collect();
        for source in 0..workers {
            for target in 0..workers {
                if source == target {
                    all[source].to.push(None);
                    continue;
                }
                let (give, take) = RingBuffer::new(ring);
                all[source].to.push(Some(give));
                all[target].from.push(Source { ring: take, seen: 0 });
            }
        }
        all.into_iter().map(Some).collect()
    }

    /// The owner of a frame; none if anybody may have it.
    #[inline]
    fn owner(&self, frame: &[u8]) -> Option<u16> {
        Some(self.owners[usize::from(bucket(fold(frame)?)) % BUCKETS as usize])
    }

    /// Hands those of the first `n` packets, just received from `port`, that belong to others over to
    /// them, and moves the rest together. Says how many that are. What is handed over counts as
    /// received here.
    #[inline]
    pub fn hand_out(
        &mut self,
        port: PortId,
        burst: &mut [Option<Mbuf>; BURST],
        n: usize,
        statistics: WorkerBlock<'_>,
    ) -> usize {
        let mut owners = [self.own; BURST];
        let mut others = Mask::EMPTY;
        for slot in 0..n {
            if let Some(Some(ahead)) = burst[..n].get(slot + AHEAD) {
                ahead.prefetch_header();
            }
            let owner = burst[slot].as_ref().and_then(|mbuf| self.owner(mbuf.data()));
            if let Some(owner) = owner.filter(|&owner| owner != self.own) {
                owners[slot] = owner;
                others.insert(slot);
            }
        }
        if others.is_empty() {
            return n;
        }
        self.send(port, burst, &owners, others, statistics);
        let mut kept = 0;
        for slot in Mask::first(n) & !others {
            burst.swap(kept, slot);
            kept += 1;
        }
        kept
    }

    #[inline(never)]
    fn send(
        &mut self,
        port: PortId,
        burst: &mut [Option<Mbuf>; BURST],
        owners: &[u16; BURST],
        packets: Mask,
        statistics: WorkerBlock<'_>,
    ) {
        let bytes = packets.into_iter().filter_map(|slot| burst[slot].as_ref());
        let bytes: u64 = bytes.map(|mbuf| mbuf.pkt_len() as u64).sum();
        let (core, counters) = (statistics.core(), statistics.port(port));
        core.rx.add(packets.len() as u64);
        counters.rx_packets.add(packets.len() as u64);
        counters.rx_bytes.add(bytes);
        let mut rest = packets;
        while let Some(first) = rest.into_iter().next() {
            let owner = owners[first];
            let mut of_owner = Mask::EMPTY;
            for slot in rest {
                if owners[slot] == owner {
                    of_owner.insert(slot);
                }
            }
            rest &= !of_owner;
            let handed = self.hand_over(usize::from(owner), port, burst, of_owner);
            core.handed_out.add(handed as u64);
            let refused = of_owner.len() - handed;
            if refused > 0 {
                count_drops(statistics, refused, DropReason::SpreadFull);
                for slot in of_owner {
                    free_bulk(&mut burst[slot..=slot]);
                }
            }
        }
    }

    /// Moves packets into the ring to a worker, in order, as far as they fit.
    fn hand_over(
        &mut self,
        owner: usize,
        port: PortId,
        burst: &mut [Option<Mbuf>; BURST],
        packets: Mask,
    ) -> usize {
        let Some(Some(ring)) = self.to.get_mut(owner) else { return 0 };
        self.handed_to.insert(owner);
        let n = ring.slots().min(packets.len());
        let Ok(chunk) = ring.write_chunk_uninit(n) else { return 0 };
        let strayed = packets.into_iter().filter_map(|slot| {
            let mbuf = burst[slot].take()?;
            Some(Strayed { port, mbuf })
        });
        chunk.fill_from_iter(strayed.take(n))
    }

    /// The workers that were handed something since the last call: their doorbells are to be rung.
    #[inline]
    pub fn take_handed_to(&mut self) -> Mask {
        std::mem::take(&mut self.handed_to)
    }

    /// Sees what has been handed over. Only what was seen is [received](Self::receive), so that who
    /// looks at the current policy in between knows all that the other worker knew: the port, say, that
    /// the packets came by.
    #[inline]
    pub fn look(&mut self) {
        for source in &mut self.from {
            source.seen = source.ring.slots();
        }
    }

    /// The rings that lead here.
    #[inline]
    pub fn sources(&self) -> usize {
        self.from.len()
    }

    /// Takes up to a burst of what one of the rings was seen to hold, all from one port, into the slots from 0
    /// on, which are empty. Says from which port, and how many.
    #[inline]
    pub fn receive(
        &mut self,
        source: usize,
        burst: &mut [Option<Mbuf>; BURST],
        statistics: WorkerBlock<'_>,
    ) -> Option<(PortId, usize)> {
        let Source { ring, seen } = self.from.get_mut(source)?;
        let chunk = ring.read_chunk((*seen).min(BURST)).ok()?;
        let (early, late) = chunk.as_slices();
        let port = early.first()?.port;
        let n = early.iter().chain(late).take_while(|strayed| strayed.port == port).count();
        for (strayed, slot) in chunk.into_iter().take(n).zip(burst) {
            *slot = Some(strayed.mbuf);
        }
        *seen -= n;
        statistics.core().handed_in.add(n as u64);
        Some((port, n))
    }

    /// Whether something has been handed over to this worker.
    #[inline]
    pub fn has_received(&self) -> bool {
        self.from.iter().any(|source| !source.ring.is_empty())
    }
}

/// The exclusive or of all 16-bit words of both addresses of a frame: all that the hash depends on,
/// since its key repeats after 16 bits. The same for both directions. `None` if it is not IP.
#[inline]
fn fold(frame: &[u8]) -> Option<u16> {
    const ETHERTYPE: usize = ethernet::HEADER - 2;
    const TAG: usize = 4;
    let mut network = ethernet::HEADER;
    let mut ethertype = word(frame, ETHERTYPE)?;
    if ethertype == ethernet::VLAN {
        network += TAG;
        ethertype = word(frame, ETHERTYPE + TAG)?;
    }
    let packet = frame.get(network..)?;
    match ethertype {
        ethernet::IPV4 => Some(fold_ipv4(packet.first_chunk()?, packet)),
        ethernet::IPV6 => Some(fold_ipv6(packet.first_chunk()?, packet)),
        _ => None,
    }
}

#[inline]
fn fold_ipv4(header: &[u8; ipv4::HEADER], packet: &[u8]) -> u16 {
    if header[9] == protocol::ICMP
        && let Some(quoted) = quoted_ipv4(header, packet)
    {
        return quoted;
    }
    let (words, _) = header.as_chunks::<4>();
    fold32(u32::from_be_bytes(words[3]) ^ u32::from_be_bytes(words[4]))
}

/// That of the packet that an ICMP error quotes.
#[cold]
fn quoted_ipv4(header: &[u8; ipv4::HEADER], packet: &[u8]) -> Option<u16> {
    let length = usize::from(header[0] & 0x0f) * 4;
    let is_later = u16::from_be_bytes([header[6], header[7]]) & ipv4::OFFSET != 0;
    let message = packet.get(length..)?;
    if is_later || icmp::is_query(*message.first()?) {
        return None;
    }
    let quoted = message.get(icmp::HEADER..)?.first_chunk::<{ ipv4::HEADER }>()?;
    let (words, _) = quoted.as_chunks::<4>();
    Some(fold32(u32::from_be_bytes(words[3]) ^ u32::from_be_bytes(words[4])))
}

#[inline]
fn fold_ipv6(header: &[u8; ipv6::HEADER], packet: &[u8]) -> u16 {
    if header[6] == protocol::ICMPV6
        && let Some(quoted) = quoted_ipv6(packet)
    {
        return quoted;
    }
    fold_addresses(header)
}

#[cold]
fn quoted_ipv6(packet: &[u8]) -> Option<u16> {
    let message = packet.get(ipv6::HEADER..)?;
    if !icmpv6::is_error(*message.first()?) {
        return None;
    }
    Some(fold_addresses(message.get(icmpv6::HEADER..)?.first_chunk()?))
}

#[inline]
fn fold_addresses(header: &[u8; ipv6::HEADER]) -> u16 {
    let (words, _) = header.as_chunks::<8>();
    let word = |place: usize| u64::from_be_bytes(words[place]);
    let all = word(1) ^ word(2) ^ word(3) ^ word(4);
    fold32((all >> 32) as u32 ^ all as u32)
}

#[inline]
const fn fold32(word: u32) -> u16 {
    (word >> 16) as u16 ^ word as u16
}

#[inline]
fn word(frame: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(place..)?.first_chunk()?))
}

/// The bits of the hash that devices choose a queue by.
#[inline]
fn bucket(fold: u16) -> u8 {
    let [high, low] = fold.to_be_bytes();
    BUCKET[0][usize::from(high)] ^ BUCKET[1][usize::from(low)]
}

/// What each byte of a fold adds to the hash.
static BUCKET: [[u8; 256]; 2] = {
    let mut table = [[0; 256]; 2];
    let mut byte = 0;
    while byte < 256 {
        table[0][byte] = (toeplitz((byte as u16) << 8) % BUCKETS) as u8;
        table[1][byte] = (toeplitz(byte as u16) % BUCKETS) as u8;
        byte += 1;
    }
    table
};

/// The Toeplitz hash of 16 bits, or of any number of words that fold to them, under the key that
/// repeats one word: for each bit that is set, the 32 bits of the key from there on.
const fn toeplitz(word: u16) -> u32 {
    let key = (RSS_KEY_WORD as u32) << 16 | RSS_KEY_WORD as u32;
    let mut hash = 0;
    let mut bit = 0;
    while bit < 16 {
        if word << bit & 0x8000 != 0 {
            hash ^= key.rotate_left(bit);
        }
        bit += 1;
    }
    hash
}

#[cfg(test)]
mod tests;
