//! Conversations, segment by segment. Sequence numbers are relative to the two initial ones, and each
//! conversation is played from several of these, near their wrap too.

use super::*;
use Phase::*;

/// `>` or `<` and flags; sequence, acknowledgement, bytes of data, window; `+` if it passes, `-` if
/// it is invalid, `=` if it reopens the connection; the phase afterwards.
type Step = (&'static str, u32, u32, u16, u16, char, Phase);

const INITIAL: [(u32, u32); 4] =
    [(0, 0), (0xffff_ff80, 0x7fff_ff80), (0x7fff_fff0, 0xffff_fff0), (12345, 0xffff_0000)];

fn segment(
    text: &str,
    sequence: u32,
    acknowledgement: u32,
    payload: u16,
    window: u16,
) -> TcpSegment {
    let flag = |c| match c {
        'F' => FIN,
        'S' => SYN,
        'R' => RST,
        'P' => 8,
        'A' => ACK,
        'U' => 32,
        _ => 0,
    };
    let flags = text.chars().map(flag).fold(0, |all, flag| all | flag);
    // A digit offers to scale windows.
    let scale = text.chars().find_map(|c| c.to_digit(10)).map(|n| n as u8);
    TcpSegment { sequence, acknowledgement, window, payload, flags, scale }
}

/// Plays a conversation; the first step begins it.
fn play(strictness: Strictness, steps: &[Step]) {
    for (a, b) in INITIAL {
        let mut tcp = None;
        for (number, &(text, sequence, acknowledgement, payload, window, outcome, phase)) in
            steps.iter().enumerate()
        {
            let reply = text.starts_with('<');
            let (own, other) = if reply { (b, a) } else { (a, b) };
            let has_ack = text.contains('A');
            let acknowledgement =
                if has_ack { acknowledgement.wrapping_add(other) } else { acknowledgement };
            let sequence = sequence.wrapping_add(own);
            let segment = segment(text, sequence, acknowledgement, payload, window);
            let from = usize::from(reply);
            let verdict = match &mut tcp {
                None => {
                    tcp = Some(Tcp::begin(from, &segment));
                    Verdict::Passes
                }
                Some(tcp) => {
                    let before = *tcp;
                    let verdict = tcp.advance(from, reply, &segment, false, strictness);
                    if verdict != Verdict::Passes {
                        assert_eq!(*tcp, before, "step {number}: it moves nothing");
                    }
                    verdict
                }
            };
            let sign = match verdict {
                Verdict::Passes => '+',
                Verdict::Invalid => '-',
                Verdict::Reopens => '=',
            };
            let now = tcp.as_ref().map(Tcp::phase);
            assert_eq!((sign, now), (outcome, Some(phase)), "step {number}, {text}, from {a:#x}");
        }
    }
}

fn strict(steps: &[Step]) {
    play(Strictness::Strict, steps);
}

/// A handshake with windows of 1,000 bytes and no scaling, and what follows.
fn open(steps: &[Step]) {
    let handshake: [Step; 3] = [
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("< SA", 0, 1, 0, 1000, '+', Handshake),
        ("> A", 1, 1, 0, 1000, '+', Open),
    ];
    strict(&[&handshake[..], steps].concat());
}

#[test]
fn conformance_99_handshake_data_and_close() {
    open(&[
        ("> PA", 1, 1, 100, 1000, '+', Open),
        ("< A", 1, 101, 0, 1000, '+', Open),
        ("< PA", 1, 101, 500, 1000, '+', Open),
        ("> A", 101, 501, 0, 1000, '+', Open),
        ("> FA", 101, 501, 0, 1000, '+', HalfClosed),
        ("< A", 501, 102, 0, 1000, '+', HalfClosed),
        ("< FA", 501, 102, 0, 1000, '+', Closing),
        ("> A", 102, 502, 0, 1000, '+', TimeWait),
        // The last ACK was lost: the FIN comes again.
        ("< FA", 501, 102, 0, 1000, '+', TimeWait),
        ("> A", 102, 502, 0, 1000, '+', TimeWait),
    ]);
}

#[test]
fn conformance_99_half_close_lets_the_other_side_go_on() {
    open(&[
        ("> FA", 1, 1, 0, 1000, '+', HalfClosed),
        ("< A", 1, 2, 400, 1000, '+', HalfClosed),
        ("> A", 2, 401, 0, 1000, '+', HalfClosed),
        ("< A", 401, 2, 900, 1000, '+', HalfClosed),
        ("> A", 2, 1301, 0, 1000, '+', HalfClosed),
        ("< FA", 1301, 2, 0, 1000, '+', Closing),
        ("> A", 2, 1302, 0, 1000, '+', TimeWait),
    ]);
}

#[test]
fn conformance_99_both_close_at_once() {
    open(&[
        ("> FA", 1, 1, 0, 1000, '+', HalfClosed),
        ("< FA", 1, 1, 0, 1000, '+', Closing),
        ("> A", 2, 2, 0, 1000, '+', Closing),
        ("< A", 2, 2, 0, 1000, '+', TimeWait),
    ]);
}

#[test]
fn conformance_99_simultaneous_open() {
    // RFC 9293 section 3.5, figure 7.
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("< S", 0, 0, 0, 1000, '+', Handshake),
        ("> SA", 0, 1, 0, 1000, '+', Handshake),
        ("< SA", 0, 1, 0, 1000, '+', Open),
        ("> A", 1, 1, 300, 1000, '+', Open),
        ("< A", 1, 301, 300, 1000, '+', Open),
    ]);
    // The second half as an ACK alone.
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("< S", 0, 0, 0, 1000, '+', Handshake),
        ("< SA", 0, 1, 0, 1000, '+', Handshake),
        ("> A", 1, 1, 0, 1000, '+', Open),
    ]);
}

#[test]
fn conformance_99_lost_segments_of_a_handshake_come_again() {
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("< SA", 0, 1, 0, 1000, '+', Handshake),
        ("< SA", 0, 1, 0, 1000, '+', Handshake),
        ("> S", 0, 0, 0, 1000, '+', Handshake),
        ("< SA", 0, 1, 0, 1000, '+', Handshake),
        ("> A", 1, 1, 0, 1000, '+', Open),
        // The ACK was lost behind us.
        ("< SA", 0, 1, 0, 1000, '+', Open),
        ("> A", 1, 1, 0, 1000, '+', Open),
    ]);
    // Nobody answers, and who asks begins anew with another number.
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("> S", 70_000, 0, 0, 1000, '+', Syn),
        ("< SA", 0, 1, 0, 1000, '-', Syn),
        ("< SA", 0, 70_001, 0, 1000, '+', Handshake),
    ]);
}

#[test]
fn conformance_99_data_on_the_syn() {
    // RFC 7413: acknowledged with the SYN, or not.
    for acknowledged in [1, 101] {
        strict(&[
            ("> S", 0, 0, 100, 1000, '+', Syn),
            ("< SA", 0, acknowledged, 0, 1000, '+', Handshake),
            ("< A", 1, acknowledged, 200, 1000, '+', Handshake),
            ("> A", acknowledged, 201, 0, 1000, '+', Open),
        ]);
    }
    strict(&[("> S", 0, 0, 100, 1000, '+', Syn), ("< SA", 0, 102, 0, 1000, '-', Syn)]);
}

#[test]
fn conformance_100_a_handshake_is_done_in_its_order() {
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("> A", 1, 1, 0, 1000, '-', Syn),
        ("> PA", 1, 1, 10, 1000, '-', Syn),
        ("> FA", 1, 1, 0, 1000, '-', Syn),
        ("> SA", 0, 1, 0, 1000, '-', Syn),
        ("< SA", 0, 2, 0, 1000, '-', Syn),
        ("< SA", 0, 0, 0, 1000, '-', Syn),
        ("< SA", 0, 1, 0, 1000, '+', Handshake),
        // A guess at the number of the SYN+ACK does not open it.
        ("> A", 1, 0, 0, 1000, '-', Handshake),
        ("> A", 1, 2, 0, 1000, '-', Handshake),
        ("> A", 1, 0xffff_fff0, 0, 1000, '-', Handshake),
        ("> A", 1, 1, 0, 1000, '+', Open),
    ]);
}

#[test]
fn conformance_101_data_out_of_window() {
    open(&[
        ("> A", 1, 1, 100, 1000, '+', Open),
        ("< A", 1, 101, 0, 1000, '+', Open),
        // As far as the window goes, and a byte further.
        ("> A", 101, 1, 1000, 1000, '+', Open),
        ("> A", 102, 1, 1000, 1000, '-', Open),
        ("> A", 1101, 1, 1, 1000, '-', Open),
        // As far back as a window goes, and a byte further.
        ("> A", 101, 1, 100, 1000, '+', Open),
        ("> A", 100, 1, 100, 1000, '-', Open),
        // Acknowledged what was never sent; and what is older than any window.
        ("> A", 1101, 2, 0, 1000, '-', Open),
        ("> A", 1101, 0u32.wrapping_sub(66_000), 0, 1000, '-', Open),
        ("> A", 1101, 1u32.wrapping_sub(66_000), 0, 1000, '+', Open),
        // It lives.
        ("< A", 1, 1101, 0, 1000, '+', Open),
        ("> A", 1101, 1, 1000, 1000, '+', Open),
    ]);
}

#[test]
fn conformance_101_keep_alives_and_probes_of_a_closed_window() {
    open(&[
        ("> A", 1, 1, 100, 1000, '+', Open),
        ("< A", 1, 101, 0, 0, '+', Open),
        // A byte may be sent into a window of none (RFC 9293 section 3.8.6.1).
        ("> A", 1001, 1, 1, 1000, '-', Open),
        ("> A", 101, 1, 1, 1000, '+', Open),
        ("< A", 1, 101, 0, 0, '+', Open),
        // RFC 9293 section 3.8.4: the byte before the next one, with and without it.
        ("> A", 100, 1, 0, 1000, '+', Open),
        ("> A", 100, 1, 1, 1000, '+', Open),
        ("< A", 1, 102, 0, 1000, '+', Open),
        ("< A", 0, 102, 0, 1000, '+', Open),
    ]);
}

#[test]
fn conformance_101_windows_are_scaled_if_both_offer_it() {
    strict(&[
        ("> S7", 0, 0, 0, 1000, '+', Syn),
        ("< SA3", 0, 1, 0, 1000, '+', Handshake),
        // The window of a SYN is never scaled.
        ("> A", 1, 1, 1001, 1000, '-', Handshake),
        ("> A", 1, 1, 1000, 10, '+', Open),
        ("< A", 1, 1001, 1280, 1000, '+', Open),
        ("< A", 1281, 1001, 1, 1000, '-', Open),
        ("> A", 1001, 1281, 8000, 10, '+', Open),
        ("> A", 9001, 1281, 1, 10, '-', Open),
    ]);
    for (first, second) in [("> S7", "< SA"), ("> S", "< SA7")] {
        strict(&[
            (first, 0, 0, 0, 1000, '+', Syn),
            (second, 0, 1, 0, 1000, '+', Handshake),
            ("> A", 1, 1, 0, 1000, '+', Open),
            ("< A", 1, 1, 1000, 1000, '+', Open),
            ("< A", 1001, 1, 1, 1000, '-', Open),
            ("> A", 1, 1, 1000, 1000, '+', Open),
            ("> A", 1001, 1, 1, 1000, '-', Open),
        ]);
    }
}

#[test]
fn conformance_102_a_reset_is_exact() {
    for (sequence, sign, phase) in [
        (1, '-', Open),
        (100, '-', Open),
        (101, '+', Reset),
        (102, '-', Open),
        (600, '-', Open),
        (2000, '-', Open),
    ] {
        open(&[
            ("> A", 1, 1, 100, 1000, '+', Open),
            ("< A", 1, 101, 0, 1000, '+', Open),
            ("> R", sequence, 0, 0, 0, sign, phase),
        ]);
    }
    // What was sent last is lost behind us: its receiver awaits what it last acknowledged.
    open(&[
        ("> A", 1, 1, 100, 1000, '+', Open),
        ("< A", 1, 101, 0, 1000, '+', Open),
        ("> A", 101, 1, 100, 1000, '+', Open),
        ("> RA", 101, 1, 0, 0, '+', Reset),
    ]);
    // Of an answer to a SYN the acknowledgement counts.
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("< R", 0, 0, 0, 0, '-', Syn),
        ("< RA", 0, 2, 0, 0, '-', Syn),
        ("< RA", 0, 1, 0, 0, '+', Reset),
    ]);
    // RFC 1337.
    open(&[
        ("> FA", 1, 1, 0, 1000, '+', HalfClosed),
        ("< FA", 1, 2, 0, 1000, '+', Closing),
        ("> A", 2, 2, 0, 1000, '+', TimeWait),
        ("< R", 2, 0, 0, 0, '+', TimeWait),
    ]);
}

#[test]
fn conformance_102_a_syn_in_an_open_connection_moves_nothing() {
    open(&[
        ("> S", 500_000, 0, 0, 1000, '+', Open),
        ("> S", 5, 0, 0, 1000, '+', Open),
        ("< S", 5, 0, 0, 1000, '+', Open),
        // RFC 5961 section 4: a challenge; who began anew resets, and begins again.
        ("< A", 1, 1, 0, 1000, '+', Open),
        ("> A", 1, 1, 100, 1000, '+', Open),
        ("> R", 101, 0, 0, 0, '+', Reset),
        ("> S", 500_000, 0, 0, 1000, '=', Reset),
    ]);
}

#[test]
fn conformance_102_who_has_forgotten_learns_it() {
    // RFC 9293 section 3.5.1, figure 9: the server holds the connection before this one.
    strict(&[
        ("> S", 0, 0, 0, 1000, '+', Syn),
        ("< A", 777, 0xdead, 0, 1000, '+', Syn),
        ("> R", 0xdead, 0, 0, 0, '+', Reset),
        ("> S", 0, 0, 0, 1000, '=', Reset),
    ]);
}

#[test]
fn conformance_109_flags_that_no_endpoint_sends() {
    for text in
        ["> ", "> SF", "> SR", "> FPU", "> F", "> FR", "> SFRPAU", "> SFA", "> SRA", "> FRA"]
    {
        open(&[(text, 1, 1, 0, 1000, '-', Open)]);
        strict(&[("> S", 0, 0, 0, 1000, '+', Syn), (text, 1, 1, 0, 1000, '-', Syn)]);
    }
    for text in ["> A", "> PA", "> UPA", "> FA", "> FPUA"] {
        let phase = if text.contains('F') { HalfClosed } else { Open };
        open(&[(text, 1, 1, 0, 1000, '+', phase)]);
    }
}

#[test]
fn conformance_112_a_closed_connection_is_reopened() {
    let close: [Step; 3] = [
        ("> FA", 1, 1, 0, 1000, '+', HalfClosed),
        ("< FA", 1, 2, 0, 1000, '+', Closing),
        ("> A", 2, 2, 0, 1000, '+', TimeWait),
    ];
    for (text, sequence, sign) in
        [("> S", 3, '='), ("< S", 3, '='), ("> S", 2, '+'), ("> S", 1, '+'), ("> SA", 5000, '-')]
    {
        open(&[&close[..], &[(text, sequence, 1, 0, 1000, sign, TimeWait)]].concat());
    }
    // After a reset nobody remembers numbers.
    for sequence in [0, 1, 2, 0x8000_0000] {
        open(&[("> R", 1, 0, 0, 0, '+', Reset), ("> S", sequence, 0, 0, 1000, '=', Reset)]);
    }
}

#[test]
fn conformance_112_a_syn_that_was_denied_opens_no_way_in() {
    // From outside, in the place of a connection that was closed; the filters drop it.
    let mut tcp = Tcp::reopen(1, &segment("S", 500, 0, 0, 1000));
    let mut advance = |from, text, sequence, acknowledgement| {
        let segment = segment(text, sequence, acknowledgement, 0, 1000);
        tcp.advance(from, from == 0, &segment, false, Strictness::Strict)
    };
    assert_eq!(advance(0, "A", 2, 2), Verdict::Invalid, "a late segment of inside is no answer");
    assert_eq!(advance(0, "FA", 1, 2), Verdict::Invalid);
    assert_eq!(advance(1, "S", 500, 0), Verdict::Passes);
    assert_eq!(advance(0, "A", 2, 2), Verdict::Invalid);
    assert_eq!(advance(0, "S", 9000, 0), Verdict::Reopens, "inside may begin anew, as New");
    assert_eq!(advance(0, "SA", 0, 501), Verdict::Passes, "who answers the SYN has seen it");
}

#[test]
fn a_connection_is_picked_up_where_nobody_minds() {
    play(
        Strictness::Loose,
        &[
            ("> PA", 5000, 9000, 100, 10, '+', PickedUp),
            ("> PA", 5100, 9000, 1400, 10, '+', PickedUp),
            ("< A", 9000, 6500, 1400, 10, '+', Open),
            // Scales are not known: nothing is out of window.
            ("< A", 99_000, 6500, 1400, 10, '+', Open),
            ("> FA", 6500, 100_400, 0, 10, '+', HalfClosed),
            ("< FA", 100_400, 6501, 0, 10, '+', Closing),
            ("> A", 6501, 100_401, 0, 10, '+', TimeWait),
        ],
    );
    // Only one direction comes by here.
    play(
        Strictness::Loose,
        &[
            ("> S", 0, 0, 0, 1000, '+', Syn),
            ("> A", 1, 1, 0, 1000, '+', PickedUp),
            ("> A", 1, 1, 1000, 1000, '+', PickedUp),
            ("> A", 90_001, 1, 1000, 1000, '+', PickedUp),
            ("> S", 7, 0, 0, 1000, '=', PickedUp),
        ],
    );
}

#[test]
fn what_was_loose_is_not_strict_about_the_past() {
    let mut tcp = Tcp::begin(0, &segment("S", 0, 0, 0, 100));
    let mut advance = |from, text, sequence, acknowledgement, payload, strictness| {
        let segment = segment(text, sequence, acknowledgement, payload, 100);
        tcp.advance(from, from == 1, &segment, false, strictness)
    };
    assert_eq!(advance(1, "SA", 0, 1, 0, Strictness::Loose), Verdict::Passes);
    assert_eq!(advance(0, "A", 1, 1, 0, Strictness::Loose), Verdict::Passes);
    assert_eq!(advance(0, "A", 70_001, 1, 100, Strictness::Loose), Verdict::Passes);
    assert_eq!(advance(0, "A", 80_001, 1, 100, Strictness::Strict), Verdict::Passes);
    assert_eq!(advance(1, "A", 1, 80_101, 100, Strictness::Strict), Verdict::Passes);
}

#[test]
fn conformance_105_a_segment_in_fragments_is_longer_than_its_first() {
    let mut tcp = Tcp::begin(0, &segment("S", 0, 0, 0, 10_000));
    let mut advance = |from, text, sequence, acknowledgement, payload, cut| {
        let segment = segment(text, sequence, acknowledgement, payload, 10_000);
        tcp.advance(from, from == 1, &segment, cut, Strictness::Strict)
    };
    assert_eq!(advance(1, "SA", 0, 1, 0, false), Verdict::Passes);
    assert_eq!(advance(0, "A", 1, 1, 0, false), Verdict::Passes);
    assert_eq!(advance(0, "A", 1, 1, 500, true), Verdict::Passes);
    assert_eq!(advance(1, "A", 1, 1401, 0, false), Verdict::Passes);
    assert_eq!(advance(1, "A", 1, 10_002, 0, false), Verdict::Invalid);
    assert_eq!(advance(0, "A", 1401, 1, 500, false), Verdict::Passes);
}

#[test]
fn conformance_103_a_quoted_segment_is_in_flight() {
    let mut tcp = Tcp::begin(0, &segment("S", 0xffff_fff0, 0, 0, 1000));
    let mut advance = |from, text, sequence: u32, acknowledgement: u32, payload| {
        let segment = segment(text, sequence, acknowledgement, payload, 1000);
        tcp.advance(from, from == 1, &segment, false, Strictness::Strict);
        tcp
    };
    let asked = advance(0, "S", 0xffff_fff0, 0, 0);
    assert!(asked.may_have_sent(0, 0xffff_fff0), "a SYN that is unreachable");
    assert!(!asked.may_have_sent(0, 0xffff_ff00));
    advance(1, "SA", 0, 0xffff_fff1, 0);
    advance(0, "A", 0xffff_fff1, 1, 0);
    let tcp = advance(0, "A", 0xffff_fff1, 1, 1000);
    let end = 0xffff_fff1_u32.wrapping_add(1000);
    assert!(tcp.may_have_sent(0, 0xffff_fff1) && tcp.may_have_sent(0, end));
    assert!(!tcp.may_have_sent(0, end.wrapping_add(1)));
    assert!(!tcp.may_have_sent(0, 0xffff_fff0) && !tcp.may_have_sent(0, 0x8000_0000));
}
