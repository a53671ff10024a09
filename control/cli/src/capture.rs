//! `sluice capture`: packets as they pass, into a file.

use std::io::{ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;

use pcap_file::PcapError;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgParser};
use serde::Serialize;
use sluice_control_api::{CAPTURE_HEADER, CaptureDirection};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Capture;
use crate::client::{Client, Pieces, with_query};
use crate::command::pretty;
use crate::failed::Failed;

/// The name of standard output.
const STDOUT: &str = "-";

/// What became of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
struct Summary {
    /// Packets in the file.
    captured: u64,
    /// Packets for which there was no room.
    missed: u64,
}

/// Captures until it is interrupted, or has what was asked for; says how many packets there are.
pub(crate) async fn run(client: &Client, wanted: &Capture, json: bool) -> Result<String, Failed> {
    let to_stdout = wanted.file.as_os_str() == STDOUT;
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(Failed::Usage(
            "packets are no text for a terminal: name a file, or `sluice capture | tcpdump -r -`"
                .into(),
        ));
    }
    let mut pieces = client.pieces(&path(wanted)).await?;
    let number = pieces.header(CAPTURE_HEADER).unwrap_or_default();
    let end = with_query("/v1/capture", &[("capture", Some(number))]);
    let mut file = open(&wanted.file, to_stdout).map_err(|source| failed(&wanted.file, source))?;
    eprintln!("sluice: capturing; Ctrl-C ends it");
    let mut interrupts = listen(SignalKind::interrupt())?;
    let mut terminations = listen(SignalKind::terminate())?;
    let reading = copy(client, &mut pieces, &mut file, &wanted.file);
    tokio::pin!(reading);
    let mut ending = false;
    let summary = loop {
        tokio::select! {
            done = &mut reading => break done?,
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
        if ending {
            return Err(Failed::Usage("interrupted before the file was complete".into()));
        }
        ending = true;
        // It may have ended by itself just now; the file says so then.
        let _ = client.delete::<serde_json::Value>(&end).await;
    };
    let Summary { captured, missed } = summary;
    let text = if json {
        pretty(&summary)
    } else {
        let cure = if missed > 0 { " (--snaplen, --buffer, a filter)" } else { "" };
        let packets = if captured == 1 { "packet" } else { "packets" };
        format!("{captured} {packets} captured, {missed} missed{cure}\n")
    };
    if !to_stdout {
        return Ok(text);
    }
    eprint!("{text}");
    Ok(String::new())
}

fn path(wanted: &Capture) -> String {
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let prefix = |prefix: Option<ipnet::IpNet>| prefix.map(|prefix| prefix.to_string());
    let query = [
        ("instance", wanted.instance.clone()),
        ("interface", wanted.interface.clone()),
        ("direction", wanted.direction.map(CaptureDirection::name).map(Into::into)),
        ("drops", wanted.drops.then(|| "true".into())),
        ("src", prefix(wanted.src)),
        ("dst", prefix(wanted.dst)),
        ("host", prefix(wanted.host)),
        ("proto", text(wanted.proto.map(Into::into))),
        ("port", text(wanted.port.map(Into::into))),
        ("count", text(wanted.count)),
        ("seconds", text(wanted.seconds.map(|time| time.as_secs()))),
        ("snaplen", text(wanted.snaplen.map(Into::into))),
        ("buffer", text(wanted.buffer.map(Into::into))),
    ];
    with_query("/v1/capture", &query)
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failed> {
    signal(kind).map_err(Failed::Output)
}

fn open(path: &Path, to_stdout: bool) -> std::io::Result<File> {
    if to_stdout {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
        return Ok(File::from_std(stdout.into()));
    }
    std::fs::File::create(path).map(File::from_std)
}

fn failed(path: &Path, source: std::io::Error) -> Failed {
    Failed::Write { path: path.into(), source }
}

/// Writes what comes to the file, until that is complete or nobody reads it any more.
async fn copy(
    client: &Client,
    pieces: &mut Pieces,
    file: &mut File,
    path: &Path,
) -> Result<Summary, Failed> {
    let mut count = Count::default();
    loop {
        let Some(piece) = pieces.next().await else {
            return match count.complete {
                true => Ok(count.summary),
                false => Err(client.broke_off("the capture has no end".into())),
            };
        };
        let written = async {
            file.write_all(&piece).await?;
            file.flush().await
        };
        match written.await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(count.summary),
            Err(source) => return Err(failed(path, source)),
        }
        count.add(&piece).map_err(|error| client.broke_off(error.to_string()))?;
    }
}

/// Counts the packets of a file as it comes.
#[derive(Default)]
struct Count {
    parser: Option<PcapNgParser>,
    /// The beginning of a block whose end has not come.
    begun: Vec<u8>,
    summary: Summary,
    complete: bool,
}

impl Count {
    fn add(&mut self, piece: &[u8]) -> Result<(), PcapError> {
        self.begun.extend_from_slice(piece);
        let mut rest = &self.begun[..];
        let read = loop {
            let parser = match &mut self.parser {
                Some(parser) => parser,
                None => match PcapNgParser::new(rest) {
                    Ok((behind, parser)) => {
                        rest = behind;
                        self.parser.insert(parser)
                    }
                    Err(error) => break Err(error),
                },
            };
            match parser.next_block(rest) {
                Ok((behind, block)) => {
                    rest = behind;
                    match block {
                        Block::EnhancedPacket(_) => self.summary.captured += 1,
                        Block::InterfaceStatistics(end) => {
                            for option in &end.options {
                                if let InterfaceStatisticsOption::IsbIfDrop(missed) = option {
                                    self.summary.missed = *missed;
                                    self.complete = true;
                                }
                            }
                        }
                        _ => {}
                    }
                }
                Err(error) => break Err(error),
            }
        };
        let left = rest.len();
        self.begun.drain(..self.begun.len() - left);
        match read {
            Err(PcapError::IncompleteBuffer) => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
    use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsBlock;
    use pcap_file::{DataLink, Endianness};

    use super::*;

    #[test]
    fn packets_are_counted_however_the_file_is_cut() {
        let mut writer = PcapNgWriter::with_endianness(Vec::new(), Endianness::Big).unwrap();
        let lan = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 100);
        writer.write_pcapng_block(lan).unwrap();
        for length in 0..20 {
            let packet = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: std::time::Duration::from_secs(1),
                original_len: 100,
                data: vec![1; length].into(),
                options: Vec::new(),
            };
            writer.write_pcapng_block(packet).unwrap();
        }
        let whole = writer.get_ref().clone();
        let options = vec![InterfaceStatisticsOption::IsbIfDrop(3)];
        let end = InterfaceStatisticsBlock { interface_id: 0, timestamp: 1, options };
        writer.write_pcapng_block(end).unwrap();
        let end = writer.into_inner().split_off(whole.len());
        for length in [1, 7, 64, 10_000] {
            let mut count = Count::default();
            whole.chunks(length).for_each(|piece| count.add(piece).unwrap());
            assert_eq!(count.summary, Summary { captured: 20, missed: 0 });
            assert!(!count.complete);
            end.chunks(length).for_each(|piece| count.add(piece).unwrap());
            assert_eq!((count.summary.missed, count.complete), (3, true));
        }
    }
}
