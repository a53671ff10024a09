//! What each packet carries in its payload: which run it is of, its number, and when it was sent.

/// Bytes of a stamp: what is left of a frame of 64 bytes behind Ethernet, IPv4 and UDP.
pub const LENGTH: usize = 18;

/// A packet's stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The run: packets of an earlier one that come late are not counted.
    pub run: u16,
    /// The packet's number within the run.
    pub sequence: u64,
    /// When it was given to the device, in cycles since the run began.
    pub sent: u64,
}

impl Stamp {
    /// Writes the stamp at the start of a payload.
    pub fn write(self, payload: &mut [u8]) {
        payload[..2].copy_from_slice(&self.run.to_be_bytes());
        payload[2..10].copy_from_slice(&self.sequence.to_be_bytes());
        payload[10..18].copy_from_slice(&self.sent.to_be_bytes());
    }

    /// Reads what [`write`](Self::write) wrote; `None` when the payload is too short.
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (run, rest) = payload.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Stamp {
            run: u16::from_be_bytes(*run),
            sequence: u64::from_be_bytes(*sequence),
            sent: u64::from_be_bytes(*sent),
        })
    }
}
