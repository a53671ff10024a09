//! What a generator sends: packets that it makes, or those of a capture.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;

use crate::stamp::Stamp;
use crate::traffic::Traffic;

/// What is sent.
pub enum Load {
    /// Packets that are made, with a stamp in each.
    Made(Traffic),
    /// Packets of a capture, over and over. They are as they were but for the link addresses, and
    /// known again by nothing: what comes back is counted, without order or latency.
    Replayed(Replay),
}

impl Load {
    /// The longest frame, without the frame check sequence.
    pub fn longest(&self) -> usize {
        match self {
            Load::Made(traffic) => usize::from(traffic.sizes.longest()).max(traffic.shortest()),
            Load::Replayed(replay) => replay.frames.iter().map(Vec::len).max().unwrap_or(0),
        }
    }

    /// Says what is known once there is a device: which link address frames come from, and how many
    /// flows end in a cycle of the clock.
    pub fn set_out(&mut self, own: [u8; 6], turnover: f64) {
        match self {
            Load::Made(traffic) => (traffic.own, traffic.turnover) = (own, turnover),
            Load::Replayed(replay) => {
                for frame in &mut replay.frames {
                    frame[6..12].copy_from_slice(&own);
                }
            }
        }
    }

    /// Flows at a time whose order is kept.
    pub fn flows(&self) -> usize {
        match self {
            Load::Made(traffic) => traffic.flows.max(1) as usize,
            Load::Replayed(_) => 0,
        }
    }

    /// The length of the frame with this number.
    pub fn length(&self, sequence: u64) -> usize {
        match self {
            Load::Made(traffic) => traffic.length(sequence),
            Load::Replayed(replay) => replay.frame(sequence).len(),
        }
    }

    /// Writes a frame, as long as [`length`](Self::length) says.
    pub fn write(&self, frame: &mut [u8], stamp: Stamp) {
        match self {
            Load::Made(traffic) => traffic.write(frame, stamp),
            Load::Replayed(replay) => frame.copy_from_slice(replay.frame(stamp.sequence)),
        }
    }
}

/// The frames of a capture.
pub struct Replay {
    frames: Vec<Vec<u8>>,
}

impl Replay {
    /// Reads a capture of Ethernet frames and addresses them to the router.
    ///
    /// # Errors
    /// It cannot be read, is of another link layer, holds nothing, or a frame was cut off.
    pub fn read(path: &Path, router: [u8; 6]) -> anyhow::Result<Replay> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut reader = PcapReader::new(file).with_context(|| {
            format!("{} is no pcap (pcapng: convert it by editcap -F pcap)", path.display())
        })?;
        if reader.header().datalink != DataLink::ETHERNET {
            bail!(
                "{}: its link layer is {:?}, not Ethernet",
                path.display(),
                reader.header().datalink
            );
        }
        let mut frames = Vec::new();
        while let Some(packet) = reader.next_packet() {
            let number = frames.len() + 1;
            let packet = packet.with_context(|| format!("{}: packet {number}", path.display()))?;
            if packet.data.len() < packet.orig_len as usize || packet.data.len() < 14 {
                bail!("{}: packet {number} is cut off: capture whole frames", path.display());
            }
            let mut frame = packet.data.into_owned();
            frame[..6].copy_from_slice(&router);
            frame.resize(frame.len().max(60), 0);
            frames.push(frame);
        }
        if frames.is_empty() {
            bail!("{} has no packets", path.display());
        }
        Ok(Replay { frames })
    }

    fn frame(&self, sequence: u64) -> &[u8] {
        &self.frames[(sequence % self.frames.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcap::{PcapPacket, PcapWriter};
    use std::time::Duration;

    use super::*;

    fn capture(frames: &[(Vec<u8>, u32)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = PcapWriter::new(file.reopen().unwrap()).unwrap();
        for (frame, length) in frames {
            writer.write_packet(&PcapPacket::new(Duration::ZERO, *length, frame)).unwrap();
        }
        file
    }

    #[test]
    fn frames_are_replayed_in_order_and_over_again() {
        let frame = |n: u8, length: usize| (vec![n; length], length as u32);
        let file = capture(&[frame(1, 100), frame(2, 42)]);
        let mut load = Load::Replayed(Replay::read(file.path(), [9; 6]).unwrap());
        load.set_out([8; 6], 0.0);
        assert_eq!(load.longest(), 100);
        for (sequence, n, length) in [(0, 1, 100), (1, 2, 60), (2, 1, 100), (7, 2, 60)] {
            let mut written = vec![0; load.length(sequence)];
            load.write(&mut written, Stamp { run: 0, sequence, sent: 0 });
            assert_eq!(
                (written.len(), &written[..12]),
                (length, &[9, 9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 8][..])
            );
            assert_eq!(written[12], n);
        }
    }

    #[test]
    fn what_cannot_be_replayed_is_named() {
        for (frames, expected) in
            [(vec![], "has no packets"), (vec![(vec![0; 60], 1514)], "packet 1 is cut off")]
        {
            let file = capture(&frames);
            let error = Replay::read(file.path(), [9; 6]).err().unwrap();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        let error = Replay::read(Path::new("/nowhere.pcap"), [9; 6]).err().unwrap();
        assert!(format!("{error:#}").contains("cannot open /nowhere.pcap"), "{error:#}");
    }
}
