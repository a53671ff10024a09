//! Programs in the sandbox: what they see of a packet, and what becomes of what they write. Their
//! source is compiled by clang, as authors do it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use sluice_hooks::{ProgramError, sandbox};
use sluice_policy::DropReason;

use super::*;

/// What is declared of a program whose function has this body.
const DECLARED: &str = r#"
#include <sluice/bpf.h>
SLUICE_PROGRAM(.name = "tried", .summary = "tried",
    .events = SLUICE_AT(OBSERVING) | SLUICE_AT(PHYSICAL_IN) | SLUICE_AT(FORWARDING) |
        SLUICE_AT(PHYSICAL_OUT),
    .counters = { "seen" },
    .tables = { { .name = "keys", .entries = 3 } },
    .settings = { { .name = "number", .summary = "n", .initial = 7, .least = 1, .most = 9 },
        { .name = "keys", .summary = "k", .least = 1, .most = 99, .table = 1 } });
SLUICE_HOOK u64 tried(struct sluice_packet *packet)
"#;

/// The object that clang makes of a function's body.
fn compiled(body: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("tried.c"), folder.path().join("tried.o"));
    std::fs::write(&source, format!("{DECLARED}{{ {body} }}")).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let clang = Command::new("clang")
        .args(["-O2", "-target", "bpf", "-mcpu=v2", "-Werror", "-I"])
        .arg(include)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(&object)
        .status();
    assert!(clang.expect("clang is installed: `make deps`").success(), "{body}");
    std::fs::read(object).unwrap()
}

fn made(body: &str, event: Event, settings: &[(&str, &str)]) -> Result<Registration, ProgramError> {
    let settings: BTreeMap<_, _> =
        settings.iter().map(|&(key, value)| (key.into(), value.to_owned())).collect();
    let loaded = sandbox::load(&compiled(body)).unwrap_or_else(|refused| panic!("{refused}"));
    let made = loaded.make(event, &settings, 1)?;
    assert_eq!(&*made.counters, ["seen".into()]);
    Ok(placed("tried", event, Hint::None, made.factory))
}

fn program(body: &str, event: Event) -> Registration {
    made(body, event, &[]).unwrap()
}

/// The payload that a program at an event has written to, in a packet from the LAN to the WAN.
fn written(body: &str, event: Event) -> Vec<u8> {
    let mut router = ready(&three_ports(), vec![program(body, event)]);
    let (_, frame) = router.forward(0, &across(&[0; 32])).expect("it goes on");
    router.assert_balanced();
    ipv4_of(&frame).1[8..].to_vec()
}

/// Writes numbers, a byte each, behind the UDP header.
fn shows(numbers: &[&str]) -> String {
    let each = numbers.iter().enumerate();
    let each = each.map(|(at, number)| format!("packet->data[28 + {at}] = (u8)({number});"));
    each.chain(["return SLUICE_CONTINUE;".to_owned()]).collect()
}

#[test]
fn a_program_sees_what_decoding_found() {
    let facts = [
        "packet->src_low >> 24",
        "packet->src_low",
        "packet->dst_low >> 8",
        "packet->src_high | packet->dst_high",
        "packet->src_port >> 8",
        "packet->dst_port",
        "packet->protocol",
        "packet->family",
        "packet->fragment",
        "packet->l4_offset",
        "packet->length",
        "packet->window",
        "packet->event",
        "packet->ingress != 0",
        "packet->egress != 0",
        "packet->now != 0",
        "packet->settings[0]",
        "packet->data[9]",
        "packet->data[60]",
        "sluice_load(packet, 22, 2)",
        "sluice_load(packet, 56, 8)",
        "packet->hop_limit",
    ];
    let (src, dst) = (5000_u16.to_be_bytes()[0], 6000_u16.to_be_bytes()[1]);
    let mut expected =
        vec![10, 2, 1, 0, src, dst, 17, 4, 0, 20, 60, 60, 5, 1, 1, 1, 7, 17, 0, dst, 0, 64];
    let seen = written(&shows(&facts), Event::Forwarding);
    assert_eq!(seen[..expected.len()], expected);
    expected[12] = Event::PhysicalIn as u8;
    expected[14] = 0;
    let seen = written(&shows(&facts), Event::PhysicalIn);
    assert_eq!(seen[..expected.len()], expected);
}

#[test]
fn memory_and_tables_last_from_packet_to_packet() {
    let body = shows(&[
        "++packet->memory[3]",
        "sluice_add(packet, 0, 0, 1, 2)",
        "sluice_lookup(packet, 0, 0, 1)",
        "sluice_lookup(packet, 0, 0, 44)",
        // One key too many, and a table that there is not.
        "sluice_store(packet, 0, 1, 1, 1) + sluice_store(packet, 0, 1, 2, 1)",
        "sluice_store(packet, 9, 0, 0, 1)",
        "sluice_remove(packet, 0, 1, 1)",
    ]);
    let hook = made(&body, Event::Forwarding, &[("keys", "44"), ("number", "9")]).unwrap();
    let mut router = ready(&three_ports(), vec![hook]);
    for (turn, expected) in
        [[1, 2, 2, 1, 1, 0, 1], [2, 4, 4, 1, 1, 0, 1], [3, 6, 6, 1, 1, 0, 1]].iter().enumerate()
    {
        let (_, frame) = router.forward(0, &across(&[0; 32])).unwrap();
        assert_eq!(&ipv4_of(&frame).1[8..15], expected, "packet {turn}");
    }
}

#[test]
fn settings_are_held_to_what_is_declared() {
    let refused = |key, value: &str| {
        made("return 0;", Event::Forwarding, &[(key, value)]).err().unwrap().to_string()
    };
    assert!(refused("number", "10").contains("1 to 9 are possible"));
    assert!(refused("keys", "1,100").contains("1 to 99 are possible"));
    assert!(refused("keys", "1,2,3,4").contains("4 numbers, 3 fit"));
    assert!(refused("other", "1").contains("`number`, `keys`"));
    assert!(
        made("return 0;", Event::RouteDecision, &[])
            .err()
            .unwrap()
            .to_string()
            .contains("FORWARDING")
    );
}

#[test]
fn an_answer_is_what_becomes_of_the_packet() {
    for (answer, dropped) in [
        ("SLUICE_CONTINUE", 0),
        ("SLUICE_DROP", 1),
        ("SLUICE_DROP_AS(0)", 1),
        ("SLUICE_DROP_AS(1)", 1),
        ("77", 1),
        ("-1", 1),
    ] {
        let body = format!("return {answer};");
        let mut router = ready(&three_ports(), vec![program(&body, Event::Forwarding)]);
        assert_eq!(router.forward(0, &across(b"hello")).is_none(), dropped == 1, "{answer}");
        assert_eq!(router.dropped(DropReason::HookDropped), dropped, "{answer}");
        router.assert_balanced();
    }
}

#[test]
fn a_rewritten_packet_is_decoded_again() {
    let to_the_dmz = "packet->data[18] = 2; sluice_checksums(packet); return SLUICE_CONTINUE;";
    let mut router = ready(&three_ports(), vec![program(to_the_dmz, Event::PhysicalIn)]);
    let (port, frame) = router.forward(0, &across(b"hello")).unwrap();
    assert_eq!((port, ipv4_of(&frame).0.destination), (2, [10, 0, 2, 2]));
    let udp = etherparse::UdpHeader::from_slice(&ipv4_of(&frame).1).unwrap().0;
    let right = udp.calc_checksum_ipv4(&ipv4_of(&frame).0, b"hello").unwrap();
    assert_eq!(udp.checksum, right);
    router.assert_balanced();

    let scribbles = "packet->data[0] = 0x4f; return SLUICE_CONTINUE;";
    let mut router = ready(&three_ports(), vec![program(scribbles, Event::PhysicalIn)]);
    assert!(router.forward(0, &across(b"hello")).is_none());
    assert_eq!(router.dropped(DropReason::HookMalformed), 1);
    router.assert_balanced();

    // Behind the packet's end there is nothing to be changed.
    let behind = "packet->data[200] = 1; return SLUICE_CONTINUE;";
    let mut router = ready(&three_ports(), vec![program(behind, Event::PhysicalIn)]);
    assert_eq!(router.forward(0, &across(b"hello")).unwrap().1.len(), 14 + 28 + 5);
}

#[test]
fn a_packet_in_segments_is_seen_and_written_as_one() {
    let body = shows(&["packet->data[59]", "sluice_load(packet, 55, 4)", "packet->data[60]"]);
    let mut router = ready(&three_ports(), vec![program(&body, Event::PhysicalIn)]);
    let payload: Vec<u8> = (100..132).collect();
    let frame = across(&payload);
    let segments = [&frame[..45], &frame[45..70], &frame[70..]].map(<[u8]>::to_vec);
    let out = router.receive_chains(0, &[segments.to_vec()]);
    let (_, udp) = ipv4_of(&out[&1][0]);
    assert_eq!(udp[8..12], [131, 130, 0, 103]);
    assert_eq!(udp[12..], payload[4..]);
}

#[test]
fn at_observing_a_program_looks_on() {
    let seen = program("sluice_count(packet, 0, 1); return SLUICE_DROP;", Event::Observing);
    let mut router = ready(&three_ports(), vec![seen]);
    assert!(router.forward(0, &across(b"hello")).is_some());
    let refused = made("packet->data[8] = 1; return 0;", Event::Observing, &[]).err().unwrap();
    assert!(refused.to_string().contains("changes packets"), "{refused}");
}
