//! What the connection tracker reads of a TCP segment (RFC 9293 section 3.1).

use zerocopy::FromBytes;

use crate::descriptor::{Descriptor, Fragment};
use crate::protocol;
use crate::tcp::{self, TcpHeader};

/// End of the list of options (RFC 9293 section 3.1).
const OPTION_END: u8 = 0;
/// Padding between options.
const OPTION_NOP: u8 = 1;
/// Window scale (RFC 7323 section 2.2): three bytes.
const OPTION_WINDOW_SCALE: u8 = 3;
/// The largest shift; a larger one counts as this (RFC 7323 section 2.3).
const SCALE_MAX: u8 = 14;

/// The fields of a segment that move a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpSegment {
    /// Sequence number of the first byte, or of the SYN.
    pub sequence: u32,
    /// Acknowledgement number; means nothing without the flag ACK.
    pub acknowledgement: u32,
    /// The window as the header has it: not scaled.
    pub window: u16,
    /// Bytes of data. Of a first fragment: those in this fragment.
    pub payload: u16,
    /// Flags, as in [`crate::tcp`].
    pub flags: u8,
    /// The shift that a SYN offers.
    pub scale: Option<u8>,
}

impl TcpSegment {
    /// Reads the segment that `d` describes; `frame` is the first segment of its buffer chain.
    /// `None` for what has no TCP header.
    #[inline]
    pub fn read(d: &Descriptor, frame: &[u8]) -> Option<TcpSegment> {
        if d.key.protocol != protocol::TCP || d.fragment == Fragment::Later {
            return None;
        }
        let start = usize::from(d.l3_offset) + usize::from(d.l4_offset);
        let bytes = frame.get(start..)?;
        let (header, options) = TcpHeader::ref_from_prefix(bytes).ok()?;
        let l4_length = usize::from(d.l3_length).saturating_sub(d.l4_offset.into());
        let scale = if header.flags & tcp::SYN != 0 {
            let length = header.header_length().saturating_sub(tcp::HEADER);
            window_scale(options.get(..length).unwrap_or(options))
        } else {
            None
        };
        Some(TcpSegment {
            sequence: header.sequence.get(),
            acknowledgement: header.acknowledgement.get(),
            window: header.window.get(),
            payload: l4_length.saturating_sub(header.header_length()) as u16,
            flags: header.flags,
            scale,
        })
    }

    /// The sequence number behind the segment: SYN and FIN count as one byte each.
    #[inline]
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.flags & tcp::SYN != 0) + u32::from(self.flags & tcp::FIN != 0);
        self.sequence.wrapping_add(u32::from(self.payload)).wrapping_add(flags)
    }

    /// Whether all of the flags are set.
    #[inline]
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// The shift that the options of a SYN offer.
#[cold]
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        options = match *options {
            [OPTION_NOP, ref rest @ ..] => rest,
            [OPTION_WINDOW_SCALE, 3, shift, ..] => return Some(shift.min(SCALE_MAX)),
            // A length under two would lead nowhere.
            [OPTION_END | OPTION_WINDOW_SCALE, ..] | [_, 0 | 1, ..] => return None,
            [_, length, ..] => options.get(length.into()..)?,
            [] | [_] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use etherparse::{PacketBuilder, TcpOptionElement as Option_};

    fn read(options: &[Option_], payload: usize, syn: bool) -> TcpSegment {
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1234, 80, 0xffff_fff0, 4096)
            .ack(77);
        let builder = if syn { builder.syn() } else { builder };
        let builder = builder.options(options).expect("options fit");
        let mut frame = Vec::new();
        builder.write(&mut frame, &vec![7; payload]).expect("written");
        let d = decode::ipv4(&frame, 0, frame.len(), 1500).expect("decoded");
        TcpSegment::read(&d, &frame).expect("a segment")
    }

    #[test]
    fn a_segment_of_data() {
        let segment = read(&[Option_::Timestamp(1, 2)], 100, false);
        let expected = TcpSegment {
            sequence: 0xffff_fff0,
            acknowledgement: 77,
            window: 4096,
            payload: 100,
            flags: tcp::ACK,
            scale: None,
        };
        assert_eq!(segment, expected);
        assert_eq!(segment.end(), 84, "sequence numbers wrap");
    }

    #[test]
    fn a_syn_offers_a_scale() {
        let options =
            [Option_::MaximumSegmentSize(1460), Option_::SelectiveAcknowledgementPermitted];
        assert_eq!(read(&options, 0, true).scale, None);
        let with = [&options[..], &[Option_::Noop, Option_::WindowScale(7)]].concat();
        assert_eq!(read(&with, 0, true).scale, Some(7));
        assert_eq!(read(&with, 0, true).end(), 0xffff_fff1);
        assert_eq!(read(&[Option_::WindowScale(200)], 0, true).scale, Some(14));
        assert_eq!(read(&with, 0, false).scale, None, "only a SYN does");
    }

    #[test]
    fn options_that_lie() {
        for options in [
            &[2, 0, 3, 3, 7][..],
            &[2, 1, 3, 3, 7],
            &[2, 40],
            &[3, 3],
            &[3, 2, 7],
            &[0, 3, 3, 7],
            &[9],
        ] {
            assert_eq!(window_scale(options), None, "{options:?}");
        }
        assert_eq!(window_scale(&[1, 1, 8, 3, 0, 3, 3, 2]), Some(2));
    }
}
