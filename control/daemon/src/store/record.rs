//! One commit as a file: a line of JSON that says who, when and what, lines of operations, and a last
//! line with their number and the CRC-32C (RFC 3385) of everything before it. A line of operations
//! lists what routes have in common once, and their prefixes after it ([`Packed`]).
//!
//! A record is either whole, and then its operations lead from the empty state to its own, or it
//! names the commit that its operations start from. A file that ends early, or of which a bit has
//! turned, has no last line that fits; one that a later release wrote says so in its first line.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IntoInnerError, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sluice_control_api::{Changes, CommitKind};
use sluice_policy::config::{Dataplane, KernelRoutes};
use sluice_policy::model::{Delta, Entries, Name, Owner, State};
use sluice_policy::{Names, Packed, Packer};

use super::upgrade;
use crate::deadline::Deadline;

/// The format that this release writes, and the latest that it reads.
const FORMAT: u32 = 6;

/// Operations of a line.
const LINE: usize = 1024;

/// The first line of a record: the commit without its operations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The format of the file.
    pub(crate) format: u32,
    /// The commit's number.
    pub(crate) generation: u64,
    /// The commit that the operations start from; none for a whole record.
    pub(crate) base: Option<u64>,
    /// When, RFC 3339.
    pub(crate) time: String,
    /// Who.
    pub(crate) author: String,
    /// What they had to say.
    pub(crate) message: Option<String>,
    /// What was done.
    pub(crate) kind: CommitKind,
    /// How much changed.
    pub(crate) changes: Changes,
    /// Until when it must be confirmed, or what it was put on top of.
    pub(crate) confirm: Option<Deadline>,
    /// The configuration file of the lower layer.
    pub(crate) file: Option<Name>,
    /// What that file says about the dataplane's start.
    pub(crate) dataplane: Option<Dataplane>,
    /// The kernel's routes that are followed, by that file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) kernel_routes: Vec<KernelRoutes>,
    /// The files that were read, and what was in them.
    pub(crate) files: Vec<FileRead>,
    /// The owners whose routes are stale unless a later commit than this one set them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stale: BTreeMap<Owner, u64>,
}

/// A file that was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct FileRead {
    /// Its path, without links and dots.
    pub(crate) path: String,
    /// SHA-256 of what was in it, in hexadecimal.
    pub(crate) sha256: String,
}

impl FileRead {
    /// What was read from an absolute path; none for another, which means something else to the
    /// next reader.
    pub(crate) fn of(path: &Path, content: &[u8]) -> Option<FileRead> {
        if !path.is_absolute() {
            return None;
        }
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let digest = Sha256::digest(content);
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(FileRead { path: path.display().to_string(), sha256 })
    }
}

impl Header {
    /// Generation 0: nothing was ever committed.
    pub(crate) fn nothing() -> Header {
        Header {
            format: FORMAT,
            generation: 0,
            base: None,
            time: String::new(),
            author: String::new(),
            message: None,
            kind: CommitKind::Adopted,
            changes: Changes::default(),
            confirm: None,
            file: None,
            dataplane: None,
            kernel_routes: Vec::new(),
            files: Vec::new(),
            stale: BTreeMap::new(),
        }
    }
}

/// The last line of a record.
#[derive(Serialize, Deserialize)]
struct Trailer {
    operations: u64,
    crc32c: u32,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// It cannot be read at all.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It ends early.
    #[error("it is torn: its last line is missing")]
    Torn,
    /// Something in it changed.
    #[error("it is corrupt: its checksum is {found:08x}, it should be {expected:08x}")]
    Corrupt {
        /// Of the content.
        found: u32,
        /// What the last line says.
        expected: u32,
    },
    /// A later release wrote it.
    #[error("it is of a later release (format {0}; this release reads up to {FORMAT})")]
    Later(u32),
    /// A line is not what it should be.
    #[error("line {line} is not understood: {error}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Its name and its content do not agree.
    #[error("it holds commit {0}")]
    Misnamed(u64),
    /// What it starts from is not there.
    #[error("it starts from commit {0}, which cannot be read")]
    Orphan(u64),
    /// Its operations make no sense together.
    #[error("its content does not fit together: {0}")]
    Unfit(String),
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// All of a state.
    Whole(&'a State),
    /// What leads to it.
    Step(&'a Delta),
}

/// Writes a record.
pub(super) fn write(header: &Header, content: Content<'_>, to: impl Write) -> io::Result<()> {
    // Summed up in large pieces: the checksum of a few bytes costs as much as of many.
    let mut to = BufWriter::with_capacity(1 << 16, Summed { to, crc: 0 });
    serde_json::to_writer(&mut to, header)?;
    to.write_all(b"\n")?;
    let mut lines = Lines { to: &mut to, packer: Packer::default(), operations: 0 };
    let rest;
    let delta = match content {
        Content::Step(delta) => delta,
        Content::Whole(state) => {
            for (key, route) in &state.routes {
                lines.packer.route(key, Some(route));
                lines.end_if(LINE)?;
            }
            let others = State { routes: Entries::default(), ..state.clone() };
            rest = State::default().difference(&others);
            &rest
        }
    };
    for operation in &delta.operations {
        lines.packer.add(operation);
        lines.end_if(LINE)?;
    }
    lines.end_if(1)?;
    let operations = lines.operations;
    let Summed { mut to, crc } = to.into_inner().map_err(IntoInnerError::into_error)?;
    let trailer = Trailer { operations, crc32c: crc };
    serde_json::to_writer(&mut to, &trailer)?;
    to.write_all(b"\n")
}

/// Lines of operations that are being written.
struct Lines<'a, W> {
    to: W,
    packer: Packer<'a>,
    operations: u64,
}

impl<W: Write> Lines<'_, W> {
    /// Ends the line if it has so many operations.
    fn end_if(&mut self, operations: usize) -> io::Result<()> {
        if self.packer.len() < operations {
            return Ok(());
        }
        self.operations += self.packer.len() as u64;
        serde_json::to_writer(&mut self.to, &self.packer.take())?;
        self.to.write_all(b"\n")
    }
}

/// Reads a record.
pub(super) fn read(path: &Path) -> Result<(Header, Delta), Damage> {
    decode(&std::fs::read(path)?)
}

/// Reads the first line of a record only; the rest is not looked at.
pub(super) fn read_header(path: &Path) -> Result<Header, Damage> {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut line = Vec::new();
    BufReader::new(std::fs::File::open(path)?).take(LONGEST_HEADER).read_until(b'\n', &mut line)?;
    header(line.strip_suffix(b"\n").ok_or(Damage::Torn)?)
}

/// No header that was written is longer.
const LONGEST_HEADER: u64 = 1 << 20;

fn header(line: &[u8]) -> Result<Header, Damage> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let wrong = |error| Damage::Line { line: 1, error };
    // Whatever else a later release has in this line, it says its format.
    let Format { format } = serde_json::from_slice(line).map_err(wrong)?;
    if format > FORMAT {
        return Err(Damage::Later(format));
    }
    serde_json::from_slice(line).map_err(wrong)
}

fn decode(bytes: &[u8]) -> Result<(Header, Delta), Damage> {
    let bytes = bytes.strip_suffix(b"\n").ok_or(Damage::Torn)?;
    let end = bytes.iter().rposition(|&byte| byte == b'\n').ok_or(Damage::Torn)? + 1;
    let (content, trailer) = bytes.split_at(end);
    let mut lines = content[..end - 1].split(|&byte| byte == b'\n');
    let header = lines.next().map(header).ok_or(Damage::Torn)?;
    // A record of a later release may end otherwise: its format is what is wrong with it.
    if let Err(later @ Damage::Later(_)) = header {
        return Err(later);
    }
    let trailer: Trailer = serde_json::from_slice(trailer).map_err(|_| Damage::Torn)?;
    let found = crc32c::crc32c(content);
    if found != trailer.crc32c {
        return Err(Damage::Corrupt { found, expected: trailer.crc32c });
    }
    let mut header = header?;
    let written = std::mem::replace(&mut header.format, FORMAT);
    let mut names = Names::default();
    let mut delta = Delta::default();
    for (line, text) in (2..).zip(lines) {
        let wrong = |error| Damage::Line { line, error };
        match written {
            1 => delta
                .operations
                .push(upgrade::from_format_1(text, header.generation).map_err(wrong)?),
            2..=4 => delta.operations.push(serde_json::from_slice(text).map_err(wrong)?),
            _ => {
                let packed: Packed = serde_json::from_slice(text).map_err(wrong)?;
                delta.operations.extend(packed.unpack(&mut names));
            }
        }
    }
    if delta.operations.len() as u64 != trailer.operations {
        return Err(Damage::Torn);
    }
    names.share(&mut delta);
    Ok((header, delta))
}

/// Sums up what is written.
struct Summed<W> {
    to: W,
    crc: u32,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use sluice_policy::config;

    use super::*;

    /// One of everything. What was written of it once must stay readable: add to it, with a new
    /// file beside the old one, rather than change it.
    const SAMPLE: &str = r#"
ports:
  lan: { device: "net_null0", mac: 02:00:00:00:00:01, addresses: [10.0.1.1/24, "fd00:1::1/64"] }
  wan: { device: net_null1, addresses: [10.0.2.1/24], steal: true, queues: 2, workers: [0], vlans: { 7: { instance: blue } } }
instances: { blue: { routes: [ { to: "::/0", reject: true } ] } }
routes:
  - { to: 10.9.0.0/16, via: [ { address: 10.0.1.2, weight: 3 }, { address: 10.0.1.3 } ] }
  - { to: 10.8.0.0/16, blackhole: true }
neighbours: [ { interface: lan, address: 10.0.1.9, mac: 02:00:00:00:00:09 } ]
filters:
  forward:
    default: reject
    rules:
      - { in: lan, out: wan, source: 10.0.1.0/24, destination: 10.2.0.0/16, protocol: tcp,
          source-port: 1024-65535, destination-port: [80, 443], tcp-flags: "syn,!ack", action: accept }
      - { name: ping, protocol: icmp, icmp-type: [8, "3/4"], action: count, log: true }
"#;

    /// What there is since format 2.
    const SINCE_FORMAT_2: &str = r#"
policy-routes:
  - { name: mail, in: lan, source: 10.0.1.0/24, protocol: tcp, destination-port: 25, dscp: [ef, 10],
      fragment: false, via: [ 10.0.2.2, { address: 10.0.2.3, weight: 2 } ], unreachable: reject }
  - { table: main }
"#;

    /// What there is since format 3.
    const SINCE_FORMAT_3: &str = r#"
hooks:
  meter: { program: hundredth, event: physical-in }
  limit: { program: syn-limit, event: forwarding, order: { before: forward-filter }, instance: blue,
           protocols: [inet6], settings: { rate: 10, burst: 20 } }
"#;

    /// What there is since format 4; the first lines belong to the filters.
    const SINCE_FORMAT_4: &str = r#"
  egress:
    stateful: true
    default: drop
    rules:
      - { name: web, protocol: tcp, destination-port: 80, state: [new, untracked], action: accept,
          limit: { new-flows: 100/m, burst: 7, flows-per-source: 20 } }
flows: { timeouts: { tcp-established: 1h, udp: 10s } }
"#;

    /// What there is since format 6, of the hooks.
    const SINCE_FORMAT_6: &str = r#"
  mine: { file: /usr/lib/sluice/mine.so, event: physical-out }
  module: { file: /usr/lib/sluice/module.so }
"#;

    fn sample_of_format_5() -> (Header, Delta) {
        of_yaml(&format!("{SAMPLE}{SINCE_FORMAT_4}{SINCE_FORMAT_2}{SINCE_FORMAT_3}"))
    }

    fn sample() -> (Header, Delta) {
        let hooks = format!("{}{}", SINCE_FORMAT_3.trim_end(), SINCE_FORMAT_6);
        of_yaml(&format!("{SAMPLE}{SINCE_FORMAT_4}{SINCE_FORMAT_2}{hooks}"))
    }

    fn of_yaml(yaml: &str) -> (Header, Delta) {
        let state = config::read(yaml.as_bytes(), "lab.yaml").unwrap_or_else(|e| panic!("{e}"));
        let state = state.state;
        let header = Header {
            generation: 7,
            kind: CommitKind::File { file: "lab.yaml".into() },
            ..Header::nothing()
        };
        (header, sluice_policy::model::State::default().difference(&state))
    }

    /// A record whose steps, which have no order, have one.
    fn sorted((header, mut delta): (Header, Delta)) -> (Header, Delta) {
        delta.operations.sort_by_key(|operation| format!("{operation:?}"));
        (header, delta)
    }

    fn encoded() -> Vec<u8> {
        let (header, delta) = sample();
        let mut bytes = Vec::new();
        write(&header, Content::Step(&delta), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(sorted(decode(&encoded()).unwrap()), sorted(sample()));
    }

    #[test]
    fn a_whole_record_leads_to_its_state() {
        let (header, delta) = sample();
        let mut state = State::default();
        state.apply(&delta);
        let mut bytes = Vec::new();
        write(&header, Content::Whole(&state), &mut bytes).unwrap();
        let mut read = State::default();
        read.apply(&decode(&bytes).unwrap().1);
        assert_eq!(read, state);
    }

    #[test]
    fn no_prefix_of_a_record_is_a_record() {
        let bytes = encoded();
        for length in 0..bytes.len() {
            decode(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn no_bit_may_turn() {
        let bytes = encoded();
        let mut turned = bytes.clone();
        for at in 0..bytes.len() * 8 {
            turned[at / 8] ^= 1 << (at % 8);
            // The trailer may be written in another way that means the same.
            if let Ok(read) = decode(&turned) {
                assert_eq!(sorted(read), sorted(sample()), "bit {at}");
            }
            turned[at / 8] ^= 1 << (at % 8);
        }
    }

    #[test]
    fn a_later_format_is_named() {
        let damage = decode(b"{\"format\":99,\"new\":true}\nnot even JSON\n").unwrap_err();
        assert!(damage.to_string().contains("format 99"), "{damage}");
    }

    /// Files of these formats are on disks out there. A release that reads one no longer as it
    /// stands has a new format, and [`upgrade`] leads the old one over.
    #[test]
    fn format_1_stays_readable() {
        let (header, mut delta) = of_yaml(SAMPLE);
        delta.stamp(header.generation);
        assert_eq!(decode(include_bytes!("format-1.ndjson")).unwrap(), (header, delta));
    }

    #[test]
    fn format_2_stays_readable() {
        let expected = of_yaml(&format!("{SAMPLE}{SINCE_FORMAT_2}"));
        assert_eq!(decode(include_bytes!("format-2.ndjson")).unwrap(), expected);
    }

    #[test]
    fn format_3_stays_readable() {
        let expected = of_yaml(&format!("{SAMPLE}{SINCE_FORMAT_2}{SINCE_FORMAT_3}"));
        assert_eq!(decode(include_bytes!("format-3.ndjson")).unwrap(), expected);
    }

    #[test]
    fn format_4_stays_readable() {
        let expected = sorted(sample_of_format_5());
        assert_eq!(sorted(decode(include_bytes!("format-4.ndjson")).unwrap()), expected);
    }

    #[test]
    fn format_5_stays_readable() {
        let expected = sorted(sample_of_format_5());
        assert_eq!(sorted(decode(include_bytes!("format-5.ndjson")).unwrap()), expected);
    }

    #[test]
    fn format_6_stays_readable() {
        if std::env::var_os("SLUICE_WRITE_RECORD").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/format-6.ndjson");
            std::fs::write(path, encoded()).unwrap();
        }
        assert_eq!(sorted(decode(include_bytes!("format-6.ndjson")).unwrap()), sorted(sample()));
    }
}
