//! What a hook may ask of checksums (section I).

use sluice_hooks::{Checksums, PartialChecksum, Validity};
use sluice_policy::model::ChecksumMode;

use super::*;

/// What a hook at PHYSICAL_IN is told about a frame, with a port that trusts checksums.
fn told(frame: &[u8]) -> (PartialChecksum, Checksums) {
    let said = Arc::new(Mutex::new(None));
    let note = Arc::clone(&said);
    let asks = hook("asks", Event::PhysicalIn, Hint::None, move |_, packet| {
        *note.lock().unwrap() = Some((packet.partial_checksum(), packet.checksums()));
        Verdict::Consumed
    });
    let mut router = ready(&trusting(), vec![asks]);
    router.receive(0, &[frame.to_vec()]);
    router.assert_balanced();
    said.lock().unwrap().take().expect("the hook was called")
}

fn trusting() -> State {
    let mut state = three_ports();
    for port in ["p0", "p1", "p2"] {
        state.ports.get_mut(port).unwrap().checksum = ChecksumMode::Trust;
    }
    state
}

/// The frame with the sum of the pseudo-header alone in the field at `field`, as a sender leaves it
/// that expects hardware to add the rest.
fn partial(mut frame: Vec<u8>, field: usize, length: usize) -> Vec<u8> {
    let mut sum: u32 = if frame[12] == 8 {
        frame[26..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum()
    } else {
        frame[22..54].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum()
    };
    sum += 17 + length as u32;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    frame
}

const NONE: PartialChecksum = PartialChecksum::empty();

#[test]
fn i1_i2_checksums_are_partial_valid_bad_or_unknown() {
    use Validity::{Bad, Unknown, Valid};
    let v4 = across(b"hello");
    let v6 = udp6("fd00:0::2", "fd00:1::2", b"hello");
    let broken = |mut frame: Vec<u8>| {
        *frame.last_mut().unwrap() ^= 1;
        frame
    };
    let mut without = v4.clone();
    without[40..42].fill(0);
    let part = PartialChecksum::L4_PART;
    for (frame, expected, l3, l4) in [
        (v4.clone(), NONE, Valid, Valid),
        (v6.clone(), NONE, Unknown, Valid),
        (broken(v4.clone()), NONE, Valid, Bad),
        (broken(v6.clone()), NONE, Unknown, Bad),
        (without, NONE, Valid, Unknown),
        (partial(v4, 40, 13), part, Valid, Unknown),
        (partial(v6, 60, 13), part, Unknown, Unknown),
    ] {
        assert_eq!(told(&frame), (expected, Checksums { l3, l4 }), "{frame:x?}");
    }
}

#[test]
fn i2_what_the_hook_itself_has_changed_is_judged_as_it_is() {
    let changes = hook("changes", Event::PhysicalIn, Hint::None, |_, mut packet| {
        let valid = Checksums { l3: Validity::Valid, l4: Validity::Valid };
        assert_eq!(packet.checksums(), valid);
        packet.bytes_mut()[30] ^= 1;
        assert_eq!(packet.checksums().l4, Validity::Bad);
        packet.bytes_mut()[1] ^= 4;
        assert_eq!(packet.checksums().l3, Validity::Bad);
        packet.write_checksums().unwrap();
        assert_eq!(packet.checksums(), valid);
        Verdict::Continue
    });
    let mut router = ready(&trusting(), vec![changes]);
    router.forward(0, &across(b"hello")).unwrap();
    router.assert_balanced();
}

#[test]
fn i3_missing_checksums_are_completed_on_request() {
    let completes = hook("completes", Event::Forwarding, Hint::None, |_, mut packet| {
        packet.complete_checksums();
        assert_eq!(packet.partial_checksum(), NONE);
        assert_eq!(packet.checksums().l4, Validity::Valid);
        Verdict::Continue
    });
    let whole = across(b"hello");
    let mut router = ready(&trusting(), vec![completes]);
    let (_, out) = router.forward(0, &partial(whole.clone(), 40, 13)).unwrap();
    assert_eq!(out[34..], whole[34..]);
    // A wrong one stays wrong: it says that the packet is broken.
    let log = Log::default();
    let seen = log.clone();
    let keeps = hook("keeps", Event::Forwarding, Hint::None, move |_, mut packet| {
        packet.complete_checksums();
        seen.note(format!("{:?}", packet.checksums().l4));
        Verdict::Continue
    });
    let mut router = ready(&trusting(), vec![keeps]);
    let mut broken = whole;
    *broken.last_mut().unwrap() ^= 1;
    let (_, out) = router.forward(0, &broken).unwrap();
    assert_eq!((&out[34..], log.take()), (&broken[34..], vec!["Bad".to_owned()]));
    router.assert_balanced();
}
