//! IPv4 packets that are longer than the MTU of their egress: what leaves, and how it is booked.

mod router;

use etherparse::PacketBuilder;
use router::{Router, mac, ports, station};
use sluice_policy::DropReason;
use sluice_policy::model::State;

/// Nothing on a packet's way allocates: the test program ends if it does (R7).
#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

const LAN: &[&str] = &["10.0.0.1/24"];
const WAN: &[&str] = &["10.0.1.1/24"];
const LINK: usize = 14;

/// A jumbo link towards one of `mtu` bytes.
fn to(mtu: u16) -> State {
    ports(&[(LAN, 9000), (WAN, mtu)])
}

fn ready(state: &State) -> Router {
    let mut router = Router::new(state);
    router.know(1, "10.0.1.2");
    router
}

/// A UDP datagram of `length` bytes, whose payload says where each byte stands.
fn udp(length: usize, identification: u16) -> Vec<u8> {
    let payload: Vec<u8> = (0..length - 28).map(|place| (place / 7) as u8).collect();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(station(0), mac(0))
        .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64)
        .udp(5000, 6000)
        .write(&mut frame, &payload)
        .unwrap();
    frame[15] = 0xbb;
    frame[18..20].copy_from_slice(&identification.to_be_bytes());
    frame[20] = 0;
    frame[24..26].fill(0);
    let checksum = etherparse::Ipv4Header::from_slice(&frame[LINK..]).unwrap().0;
    let checksum = checksum.calc_header_checksum();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn header_of(frame: &[u8]) -> etherparse::Ipv4Header {
    let (header, _) = etherparse::Ipv4Header::from_slice(&frame[LINK..]).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
    assert_eq!(usize::from(header.total_len), frame.len() - LINK);
    header
}

/// Puts pieces that came in order together; checks that each is as it should be.
fn together(pieces: &[Vec<u8>], whole: &[u8], mtu: usize) {
    let mut payload: Vec<u8> = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        let header = header_of(piece);
        assert!(piece.len() <= LINK + mtu);
        assert_eq!((&piece[..6], &piece[6..12]), (&station(1)[..], &mac(1)[..]));
        assert_eq!((header.time_to_live, piece[15]), (63, 0xbb));
        assert_eq!(header.identification.to_be_bytes(), whole[18..20]);
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, payload.len());
        assert_eq!(header.more_fragments, place + 1 < pieces.len());
        payload.extend(&piece[LINK + 20..]);
    }
    assert_eq!(payload, whole[LINK + 20..]);
}

/// The frame in segments of so many bytes.
fn segments(frame: &[u8], each: usize) -> Vec<Vec<u8>> {
    frame.chunks(each).map(<[u8]>::to_vec).collect()
}

#[test]
fn conformance_41_what_is_too_long_leaves_in_pieces() {
    let mut router = ready(&to(1280));
    let whole = udp(6000, 77);
    // Received in the buffers of the pool, and with borders where no piece ends.
    for each in [2048, 1000, 333] {
        let out = router.receive_chains(0, &[segments(&whole, each)]).remove(&1).unwrap();
        assert_eq!(out.len(), 5);
        together(&out, &whole, 1280);
    }
    let core = router.statistics.worker(0).core();
    assert_eq!((core.rx.get(), core.consumed.get(), core.generated.get()), (3, 3, 15));
    router.assert_balanced();
}

#[test]
fn conformance_42_a_fragment_is_cut_where_it_is() {
    let mut router = ready(&to(1280));
    let mut middle = udp(1500, 78);
    middle[20..22].copy_from_slice(&(0x2000u16 | 100).to_be_bytes());
    middle[24..26].fill(0);
    let checksum = etherparse::Ipv4Header::from_slice(&middle[LINK..]).unwrap().0;
    middle[24..26].copy_from_slice(&checksum.calc_header_checksum().to_be_bytes());
    let out = router.receive(0, &[middle]).remove(&1).unwrap();
    let of = |frame: &Vec<u8>| (header_of(frame).fragment_offset.value(), frame[20] & 0x20 != 0);
    assert_eq!(out.iter().map(of).collect::<Vec<_>>(), [(100, true), (257, true)]);
    router.assert_balanced();
}

#[test]
fn pieces_longer_than_a_buffer_are_chains() {
    let mut router = ready(&to(4000));
    let whole = udp(8900, 79);
    let out = router.receive_chains(0, &[segments(&whole, 2048)]).remove(&1).unwrap();
    assert_eq!(out.len(), 3);
    together(&out, &whole, 4000);
    router.assert_balanced();
}

#[test]
fn pieces_stand_where_their_packet_stood() {
    let mut router = ready(&to(1280));
    let frames: Vec<_> =
        [100, 3000, 1280, 1281, 64].iter().zip(1..).map(|(&n, id)| udp(n, id)).collect();
    let chains: Vec<_> = frames.iter().map(|frame| segments(frame, 2048)).collect();
    let out = router.receive_chains(0, &chains).remove(&1).unwrap();
    let order: Vec<u16> = out.iter().map(|frame| header_of(frame).identification).collect();
    assert_eq!(order, [1, 2, 2, 2, 3, 4, 4, 5]);
    router.assert_balanced();
}

#[test]
fn what_waits_for_its_neighbour_waits_whole() {
    let mut router = Router::new(&to(1280));
    let whole = udp(3000, 80);
    assert_eq!(router.receive_chains(0, &[segments(&whole, 2048)]).get(&1), None);
    assert_eq!(router.statistics.worker(0).core().held.get(), 1);
    router.know(1, "10.0.1.2");
    let out = router.pass_time(2).remove(&1).unwrap();
    together(&out, &whole, 1280);
    router.assert_balanced();
}

#[test]
fn what_waits_leaves_in_pieces_ahead_of_what_follows() {
    let mut router = Router::new(&to(1280));
    router.receive_chains(0, &[segments(&udp(3000, 1), 2048)]);
    router.know(1, "10.0.1.2");
    let out = router.receive(0, &[udp(100, 2)]).remove(&1).unwrap();
    let order: Vec<u16> = out.iter().map(|frame| header_of(frame).identification).collect();
    assert_eq!(order, [1, 1, 1, 2]);
    router.assert_balanced();
}

#[test]
fn without_buffers_nothing_of_it_leaves() {
    let mut router = ready(&to(1280));
    let mut taken = Vec::new();
    while let Some(buffer) = router.pool.alloc() {
        taken.push(buffer);
    }
    // Three for the packet, and two for its five pieces.
    taken.truncate(taken.len() - 5);
    assert_eq!(router.receive_chains(0, &[segments(&udp(6000, 9), 2048)]).get(&1), None);
    assert_eq!(router.dropped(DropReason::FragmentNoBuffer), 1);
    drop(taken);
    router.assert_balanced();
}

#[test]
fn many_small_pieces_need_more_than_a_burst_of_buffers() {
    let mut router = ready(&to(68));
    let whole = udp(8900, 81);
    let out = router.receive_chains(0, &[segments(&whole, 2048)]).remove(&1).unwrap();
    assert_eq!(out.len(), (8900 - 20_usize).div_ceil(48));
    together(&out, &whole, 68);
    router.assert_balanced();
}
