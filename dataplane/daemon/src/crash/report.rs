//! Writing a report, and reading what the dataplane before left.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_channel::CrashReport;

use super::packet::{self, InHand};
use super::{KEPT, Panic, since_1970};

/// Names the report that was told last.
const TOLD: &str = "told";

/// The file `STAMP.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    unix_seconds: u64,
    version: String,
    thread: String,
    core: Option<u16>,
    /// Innermost function of ours.
    place: Option<String>,
    generation: u64,
    message: String,
    packets: Vec<Packet>,
    backtrace: Vec<String>,
}

/// A packet that was in hand.
#[derive(Serialize, Deserialize)]
struct Packet {
    what: String,
    /// In hexadecimal digits: JSON's numbers end before.
    fingerprint: String,
}

impl Report {
    pub(super) fn new(thread: String, core: Option<u16>, generation: u64, panic: Panic) -> Report {
        Report {
            unix_seconds: since_1970().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            thread,
            core,
            place: place(&panic.backtrace),
            generation,
            message: panic.message,
            packets: Vec::new(),
            backtrace: panic.backtrace.lines().map(|line| line.trim_end().to_owned()).collect(),
        }
    }

    /// Writes report and packets into `directory`, and removes the oldest that are too many.
    pub(super) fn leave(mut self, directory: &Path, packets: &[InHand]) -> io::Result<PathBuf> {
        let packet = |packet: &InHand| Packet {
            what: packet.what.clone(),
            fingerprint: format!("{:016x}", packet::fingerprint(&packet.frame)),
        };
        self.packets = packets.iter().map(packet).collect();
        fs::create_dir_all(directory)?;
        let (now, pid) = (since_1970(), std::process::id());
        let stamp = format!("{:012}-{:03}-{pid}", now.as_secs(), now.subsec_millis());
        let path = directory.join(stamp + ".json");
        if !packets.is_empty() {
            let file = fs::File::create(path.with_extension("pcap"))?;
            packet::write_pcap(io::BufWriter::new(file), packets)?;
        }
        let text = serde_json::to_vec_pretty(&self)?;
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &path)?;
        prune(directory);
        Ok(path)
    }
}

/// The newest report, if nobody has told it; it counts as told now.
pub(super) fn last(directory: &Path) -> Option<CrashReport> {
    let reports = reports(directory);
    let (newest, earlier) = reports.split_last()?;
    let name = newest.file_name()?.to_str()?;
    let told = directory.join(TOLD);
    if fs::read_to_string(&told).is_ok_and(|told| told == name) {
        return None;
    }
    if let Err(error) = fs::write(&told, name) {
        tracing::warn!("cannot write {}: {error}", told.display());
    }
    let report = read(newest)?;
    let before: BTreeSet<String> = earlier
        .iter()
        .filter_map(|path| read(path))
        .flat_map(|report| report.packets)
        .map(|packet| packet.fingerprint)
        .collect();
    let packets = newest.with_extension("pcap");
    let again = report.packets.into_iter().filter(|packet| before.contains(&packet.fingerprint));
    Some(CrashReport {
        unix_seconds: report.unix_seconds,
        version: report.version,
        thread: report.thread,
        core: report.core,
        stage: report.place,
        generation: report.generation,
        message: report.message,
        file: newest.display().to_string(),
        packets: packets.exists().then(|| packets.display().to_string()),
        poison: again.map(|packet| packet.what).collect(),
    })
}

/// The reports that there are, oldest first.
fn reports(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut reports: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    reports.sort();
    reports
}

fn read(path: &Path) -> Option<Report> {
    let text = fs::read(path).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::warn!("ignoring {}: {error}", path.display()))
        .ok()
}

fn prune(directory: &Path) {
    let reports = reports(directory);
    for path in &reports[..reports.len().saturating_sub(KEPT)] {
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(path.with_extension("pcap"));
    }
}

/// The innermost function of ours in a backtrace: what is not the runtime's or this module's.
fn place(backtrace: &str) -> Option<String> {
    backtrace
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(number, _)| number.parse::<u32>().is_ok())
        .map(|(_, function)| function)
        .find(|function| function.contains("sluice_") && !function.contains("::crash::"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKTRACE: &str = "\
   0: std::backtrace::Backtrace::force_capture
             at /rustc/x/library/std/src/backtrace.rs:312:13
   1: sluice_dataplane::crash::install::{closure#0}
   2: core::panicking::panic_fmt
   3: <sluice_pipelines::route::Route as sluice_hooks::hook::Hook>::process
   4: sluice_pipelines::pipeline::Pipeline::walk
";

    fn leave(directory: &Path, number: u64, frames: &[&[u8]]) {
        let packet =
            |frame: &&[u8]| InHand { frame: frame.to_vec(), what: format!("{}", frame[0]) };
        let packets: Vec<_> = frames.iter().map(packet).collect();
        let panic = Panic { message: format!("{number}"), backtrace: BACKTRACE.into() };
        let report = Report::new("worker-0".into(), Some(3), number, panic);
        report.leave(directory, &packets).unwrap();
        // Two in one millisecond would be one.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }

    #[test]
    fn the_next_dataplane_is_told_once_and_poison_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert_eq!(last(&directory.join("none")), None);
        leave(directory, 7, &[&[1; 60], &[2; 60]]);
        let report = last(directory).unwrap();
        assert_eq!((report.generation, &*report.message, report.core), (7, "7", Some(3)));
        let place = report.stage.unwrap();
        assert!(place.contains("route::Route"), "{place}");
        assert!(fs::exists(report.packets.unwrap()).unwrap() && report.poison.is_empty());
        assert_eq!(last(directory), None, "told already");
        leave(directory, 8, &[&[3; 60], &[2; 60]]);
        assert_eq!(last(directory).unwrap().poison, ["2"]);
        leave(directory, 9, &[]);
        let report = last(directory).unwrap();
        assert_eq!((report.packets, report.poison), (None, vec![]));
    }

    #[test]
    fn reports_are_bounded_and_damaged_ones_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        for number in 0..KEPT as u64 + 3 {
            leave(directory, number, &[&[1; 60]]);
        }
        assert_eq!(reports(directory).len(), KEPT);
        let files = fs::read_dir(directory).unwrap().count();
        assert_eq!(files, 2 * KEPT);
        fs::write(directory.join("999999999999-000-1.json"), "{").unwrap();
        assert_eq!(last(directory), None);
    }
}
