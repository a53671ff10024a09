//! Captured packets as a file that analysers read
//! ([draft-ietf-opsawg-pcapng](https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/)).
//!
//! Each interface has a description of its own, the first of them for packets that no interface is
//! known of. What the format has no field for stands in the packet's comment, in words of `key=value`.
//! The statistics of the first interface, which end the file, say how many packets were missed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};
use sluice_channel::{CaptureDirection, CapturedPacket};
use sluice_policy::DropReason;
use sluice_policy::model::Name;

/// Time stamps are in nanoseconds: ten to the minus ninth.
const NANOSECONDS: u8 = 9;

/// What `epb_flags` says of the direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A file under way, in memory until it is [taken](File::take).
pub(crate) struct File {
    writer: PcapNgWriter<Vec<u8>>,
    snaplen: u32,
    interfaces: HashMap<Name, u32>,
    /// Packets of each interface.
    packets: Vec<u64>,
    /// When the last packet was captured, in nanoseconds since 1970.
    last_ns: u64,
}

impl File {
    /// An empty file, for packets of at most `snaplen` bytes.
    pub(crate) fn new(snaplen: u32) -> Result<File, PcapError> {
        // The crate writes the halves of a statistic's time in the right order in this one alone.
        let section = SectionHeaderBlock {
            endianness: Endianness::Big,
            options: vec![SectionHeaderOption::UserApplication(
                concat!("sluice ", env!("CARGO_PKG_VERSION")).into(),
            )],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
        let (interfaces, packets) = (HashMap::new(), Vec::new());
        let mut file = File { writer, snaplen, interfaces, packets, last_ns: 0 };
        file.describe("sluice", Some("between instances, and the router's own that was dropped"))?;
        Ok(file)
    }

    /// Adds a packet.
    pub(crate) fn write(&mut self, packet: &CapturedPacket) -> Result<(), PcapError> {
        let interface_id = match &packet.interface {
            None => 0,
            Some(name) => match self.interfaces.get(name) {
                Some(id) => *id,
                None => {
                    let id = self.describe(name, None)?;
                    self.interfaces.insert(name.clone(), id);
                    id
                }
            },
        };
        let mut options = vec![EnhancedPacketOption::Comment(comment(packet).into())];
        let flags = match packet.direction {
            CaptureDirection::In => Some(INBOUND),
            CaptureDirection::Out => Some(OUTBOUND),
            CaptureDirection::Local | CaptureDirection::Dropped => None,
        };
        options.extend(flags.map(EnhancedPacketOption::Flags));
        self.packets[interface_id as usize] += 1;
        self.last_ns = self.last_ns.max(packet.time_ns);
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(packet.time_ns),
            original_len: packet.length,
            data: Cow::Borrowed(&packet.bytes),
            options,
        })?;
        Ok(())
    }

    /// Ends the file: how many packets each interface has, and how many were missed in all.
    pub(crate) fn finish(&mut self, missed: u64) -> Result<(), PcapError> {
        for (interface, packets) in self.packets.iter().enumerate().rev() {
            let mut options = vec![InterfaceStatisticsOption::IsbUsrDeliv(*packets)];
            if interface == 0 {
                options.push(InterfaceStatisticsOption::IsbIfDrop(missed));
            }
            self.writer.write_pcapng_block(InterfaceStatisticsBlock {
                interface_id: interface as u32,
                timestamp: self.last_ns,
                options,
            })?;
        }
        Ok(())
    }

    /// What was added since the last time.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }

    /// Describes the next interface; returns its number.
    fn describe(&mut self, name: &str, description: Option<&str>) -> Result<u32, PcapError> {
        let mut options = vec![
            InterfaceDescriptionOption::IfName(name.to_owned().into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        options.extend(
            description
                .map(|text| InterfaceDescriptionOption::IfDescription(text.to_owned().into())),
        );
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snaplen,
            options,
        })?;
        self.packets.push(0);
        Ok(self.packets.len() as u32 - 1)
    }
}

fn comment(packet: &CapturedPacket) -> String {
    let direction = match packet.direction {
        CaptureDirection::In => "in",
        CaptureDirection::Out => "out",
        CaptureDirection::Local => "local",
        CaptureDirection::Dropped => "dropped",
    };
    let mut text = format!("direction={direction} instance={}", packet.instance);
    for (key, name) in [("from", &packet.from), ("to", &packet.to), ("reason", &packet.dropped)] {
        if let Some(name) = name {
            let _ = write!(text, " {key}={name}");
        }
    }
    let named = |name: &Name| DropReason::ALL.iter().find(|reason| reason.name() == &**name);
    if let Some(reason) = packet.dropped.as_ref().and_then(named) {
        let _ = write!(text, " stage={}", reason.stage().name());
    }
    text
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    fn packet(interface: Option<&str>, direction: CaptureDirection) -> CapturedPacket {
        CapturedPacket {
            time_ns: 1_700_000_000_123_456_789,
            direction,
            instance: "default".into(),
            interface: interface.map(Into::into),
            from: None,
            to: Some("default".into()),
            dropped: None,
            length: 100,
            bytes: vec![5; 61],
        }
    }

    #[test]
    fn a_file_reads_back_with_interfaces_times_and_comments() {
        let mut file = File::new(61).unwrap();
        let dropped = CapturedPacket {
            dropped: Some("no-route".into()),
            ..packet(Some("lan"), CaptureDirection::Dropped)
        };
        let packets = [
            packet(Some("lan"), CaptureDirection::In),
            packet(Some("wan"), CaptureDirection::Out),
            dropped,
            packet(None, CaptureDirection::Local),
        ];
        let mut bytes = Vec::new();
        for packet in &packets {
            file.write(packet).unwrap();
            bytes.extend(file.take());
        }
        file.finish(7).unwrap();
        bytes.extend(file.take());
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let (mut names, mut seen, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(block) => {
                    assert_eq!((block.linktype, block.snaplen), (DataLink::ETHERNET, 61));
                    assert!(block.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                    names.push(block.options[0].clone().into_owned());
                }
                Block::EnhancedPacket(block) => {
                    assert_eq!(block.timestamp.as_nanos(), 1_700_000_000_123_456_789);
                    assert_eq!((block.original_len, block.data.len()), (100, 61));
                    let flags = block.options.iter().find_map(|option| match option {
                        EnhancedPacketOption::Flags(flags) => Some(*flags),
                        _ => None,
                    });
                    let EnhancedPacketOption::Comment(text) = &block.options[0] else { panic!() };
                    seen.push((block.interface_id, flags, text.to_string()));
                }
                Block::InterfaceStatistics(block) => {
                    let last = block.options.into_iter().last().unwrap();
                    ends.push((block.interface_id, last.into_owned()));
                }
                other => panic!("{other:?}"),
            }
        }
        let named = |name: &'static str| InterfaceDescriptionOption::IfName(name.into());
        assert_eq!(names, [named("sluice"), named("lan"), named("wan")]);
        let of = |text: &str| text.to_owned();
        assert_eq!(
            seen,
            [
                (1, Some(1), of("direction=in instance=default to=default")),
                (2, Some(2), of("direction=out instance=default to=default")),
                (
                    1,
                    None,
                    of("direction=dropped instance=default to=default reason=no-route stage=route")
                ),
                (0, None, of("direction=local instance=default to=default")),
            ]
        );
        assert_eq!(ends.last(), Some(&(0, InterfaceStatisticsOption::IsbIfDrop(7))));
        assert_eq!(ends[1], (1, InterfaceStatisticsOption::IsbUsrDeliv(2)));
    }
}
