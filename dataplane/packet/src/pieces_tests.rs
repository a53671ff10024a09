use proptest::prelude::*;

use super::*;

/// A packet of so many payload bytes, each saying where it stood.
fn packet(options: &[u8], payload: usize, field: u16) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4) && options.len() <= 40);
    let length = HEADER + options.len();
    let mut packet = vec![0; length];
    packet[0] = 0x40 | (length / 4) as u8;
    packet[1] = 0xbb;
    packet[2..4].copy_from_slice(&((length + payload) as u16).to_be_bytes());
    packet[4..6].copy_from_slice(&0xbeefu16.to_be_bytes());
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    packet[8..10].copy_from_slice(&[63, 17]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 1, 2]);
    packet[HEADER..].copy_from_slice(options);
    let checksum = checksum::ipv4_header(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend((0..payload).map(|place| (place / UNIT) as u8 ^ place as u8));
    packet
}

/// The packet's pieces as they go out.
fn cut(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let pieces = Pieces::new(packet, mtu).expect("it may be cut");
    let (count, header) = (pieces.len(), usize::from(packet[0] & 0x0f) * 4);
    let pieces: Vec<_> = pieces
        .map(|piece| [piece.header(), &packet[header..][piece.payload.clone()]].concat())
        .collect();
    assert_eq!(pieces.len(), count);
    pieces
}

fn field_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[6], packet[7]])
}

fn header_of(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

#[test]
fn conformance_41_a_whole_datagram_is_cut_into_five() {
    let whole = packet(&[], 5980, 0);
    let pieces = cut(&whole, 1280);
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1276, 1276, 1276, 1276, 976]);
    let offsets: Vec<_> = pieces.iter().map(|piece| field_of(piece)).collect();
    let more = ipv4::MORE_FRAGMENTS;
    assert_eq!(offsets, [more, more | 157, more | 314, more | 471, 628]);
}

#[test]
fn conformance_42_pieces_of_a_middle_fragment_begin_where_it_began() {
    let middle = packet(&[], 1480, ipv4::MORE_FRAGMENTS | 100);
    let fields: Vec<_> = cut(&middle, 1280).iter().map(|piece| field_of(piece)).collect();
    let more = ipv4::MORE_FRAGMENTS;
    assert_eq!(fields, [more | 100, more | 257]);
    let last = packet(&[], 1480, 100);
    let fields: Vec<_> = cut(&last, 1280).iter().map(|piece| field_of(piece)).collect();
    assert_eq!(fields, [more | 100, 257]);
}

#[test]
fn options_follow_their_copy_flag() {
    // Record route (7) is not copied, router alert (148) and security (130) are.
    let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1, 130, 3, 9, 0];
    let pieces = cut(&packet(&options, 300, 0), 128);
    assert_eq!(pieces[0][HEADER..][..16], options);
    for later in &pieces[1..] {
        assert_eq!(later[HEADER..header_of(later)], [148, 4, 0, 0, 130, 3, 9, 0]);
    }
}

#[test]
fn the_smallest_mtu_has_room_for_the_longest_header() {
    let pieces = cut(&packet(&[1; 40], 24, 0), 68);
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [68, 36]);
}

#[test]
fn what_may_not_be_cut_is_not() {
    assert!(Pieces::new(&packet(&[], 2000, ipv4::DONT_FRAGMENT), 1280).is_none());
    assert!(Pieces::new(&packet(&[], 2000, 0), 27).is_none());
    // It would end where no offset can say.
    assert!(Pieces::new(&packet(&[], 2000, ipv4::OFFSET), 1280).is_none());
    let whole = packet(&[1; 8], 100, 0);
    for length in 0..28 {
        assert!(Pieces::new(&whole[..length], 68).is_none(), "{length}");
    }
}

/// Options as hosts send them, filled up to whole words.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![ipv4::OPTION_NOP]),
        (2..=255u8, 0..8usize).prop_map(|(kind, length)| {
            [vec![kind, length as u8 + 2], vec![kind; length]].concat()
        }),
    ];
    prop::collection::vec(option, 0..4).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.resize(bytes.len().next_multiple_of(4), ipv4::OPTION_END);
        bytes
    })
}

proptest! {
    #[test]
    fn pieces_put_together_are_the_packet(
        options in options(),
        payload in 1..9000usize,
        mtu in 68..4000u16,
        base in 0..0x1000u16,
        more: bool,
    ) {
        let field = base | if more { ipv4::MORE_FRAGMENTS } else { 0 };
        let whole = packet(&options, payload, field);
        let header = header_of(&whole);
        let pieces = cut(&whole, mtu);
        let mut together: Vec<u8> = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            let (its, field) = (header_of(piece), field_of(piece));
            let is_last = place + 1 == pieces.len();
            prop_assert!(piece.len() <= usize::from(mtu));
            prop_assert!(is_last || (piece.len() - its).is_multiple_of(UNIT));
            prop_assert!(is_last || piece.len() + UNIT > usize::from(mtu), "as much as fits");
            prop_assert!(checksum::ipv4_header_is_valid(&piece[..its]));
            prop_assert_eq!(u16::from_be_bytes([piece[2], piece[3]]), piece.len() as u16);
            prop_assert_eq!(field & ipv4::MORE_FRAGMENTS != 0, more || !is_last);
            let offset = usize::from(field & ipv4::OFFSET) - usize::from(base);
            prop_assert_eq!(offset * UNIT, together.len());
            // All else in the header is as it was.
            for place in [1, 4, 5, 8, 9].into_iter().chain(12..HEADER) {
                prop_assert_eq!(piece[place], whole[place]);
            }
            together.extend(&piece[its..]);
        }
        prop_assert_eq!(&together[..], &whole[header..]);
        prop_assert_eq!(&pieces[0][HEADER..header_of(&pieces[0])], &options[..]);
    }
}
