use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn narrow() -> impl Strategy<Value = [u16; Lanes::COUNT]> {
    proptest::array::uniform8(select(vec![0, 1, 5, 0x7fff, 0x8000, 0xfffe, u16::MAX]))
}

fn wide() -> impl Strategy<Value = [u32; Lanes::COUNT]> {
    proptest::array::uniform8(select(vec![0, 1, 5, 0x7fff_ffff, 0x8000_0000, u32::MAX]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_forms_find_the_same(
        (address, address_mask, names) in (wide(), wide(), wide()),
        (source_port, source_ports) in (narrow(), narrow()),
        (destination_port, destination_ports) in (narrow(), narrow()),
        (marks, marks_mask) in (narrow(), narrow()),
        (like, from) in (0..Lanes::COUNT, select(vec![0, 5, 0x8000_0000])),
    ) {
        let lanes = Lanes {
            address, address_mask, source_port, source_ports,
            destination_port, destination_ports, marks, marks_mask, names,
        };
        // So that some lane is nearly right.
        let probe = Probe {
            source_port: source_port[like],
            destination_port: destination_port[like],
            marks: marks[like],
        };
        let found = lanes.least(address[like], probe, from);
        prop_assert_eq!(found, lanes.least_plain(address[like], probe, from));
    }
}

#[test]
fn a_lane_is_found_by_all_that_it_has() {
    let mut lanes = Lanes {
        address: [1; Lanes::COUNT],
        address_mask: [0; Lanes::COUNT],
        source_port: [0; Lanes::COUNT],
        source_ports: [u16::MAX; Lanes::COUNT],
        destination_port: [0; Lanes::COUNT],
        destination_ports: [u16::MAX; Lanes::COUNT],
        marks: [0; Lanes::COUNT],
        marks_mask: [0; Lanes::COUNT],
        names: [u32::MAX; Lanes::COUNT],
    };
    (lanes.address[6], lanes.address_mask[6]) = (0x0a00_0000, 0xff00_0000);
    (lanes.destination_port[6], lanes.destination_ports[6]) = (80, 1);
    (lanes.marks[6], lanes.marks_mask[6], lanes.names[6]) = (6, 0xff, 40);
    let right = Probe { source_port: 7, destination_port: 81, marks: 0x0106 };
    assert_eq!(lanes.least(0x0a01_0203, right, 40), 40);
    assert_eq!(lanes.least(0x0a01_0203, right, 41), u32::MAX);
    assert_eq!(lanes.least(0x0b01_0203, right, 0), u32::MAX);
    for wrong in [Probe { destination_port: 82, ..right }, Probe { marks: 0x0111, ..right }] {
        assert_eq!(lanes.least(0x0a01_0203, wrong, 0), u32::MAX);
    }
}
