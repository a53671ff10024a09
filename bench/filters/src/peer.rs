//! The peer: a program over librte_acl, in a process of its own.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::workload::{Packet, Rule};

/// EAL's arguments: no hardware, nothing shared, memory from the heap; every width of vector.
const EAL: [&str; 10] = [
    "--no-huge",
    "--no-pci",
    "--no-shconf",
    "--no-telemetry",
    "--log-level=1",
    "--force-max-simd-bitwidth=512",
    "-m",
    "4096",
    "--file-prefix",
    "sluice-bench-filters",
];

/// The running program.
pub struct Peer {
    child: Child,
    commands: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it on a core.
    pub fn start(program: &Path, core: usize) -> anyhow::Result<Peer> {
        let mut child = Command::new(program)
            .args(EAL)
            .arg(format!("--lcores=0@{core}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.context("pipes to the peer")?;
        let (commands, answers) = (BufWriter::new(commands), BufReader::new(answers));
        Ok(Peer { child, commands, answers })
    }

    /// Has the rules built; returns how long that took.
    pub fn rules(&mut self, rules: &[Rule]) -> anyhow::Result<Duration> {
        writeln!(self.commands, "rules {}", rules.len())?;
        for rule in rules {
            let Rule { source, destination, source_port, destination_port, protocol } = rule;
            writeln!(
                self.commands,
                "{} {} {} {} {} {} {} {} {} {}",
                source.address,
                source.length,
                destination.address,
                destination.length,
                source_port.0,
                source_port.1,
                destination_port.0,
                destination_port.1,
                protocol.unwrap_or(0),
                if protocol.is_some() { 255 } else { 0 },
            )?;
        }
        Ok(Duration::from_nanos(self.answer()?.trim().parse()?))
    }

    pub fn packets(&mut self, packets: &[Packet]) -> anyhow::Result<()> {
        writeln!(self.commands, "packets {}", packets.len())?;
        for packet in packets {
            let Packet { source, destination, source_port, destination_port, protocol } = packet;
            writeln!(
                self.commands,
                "{source} {destination} {source_port} {destination_port} {protocol}"
            )?;
        }
        self.answer().map(drop)
    }

    /// The place of the rule that each packet meets.
    pub fn matches(&mut self) -> anyhow::Result<Vec<Option<usize>>> {
        writeln!(self.commands, "match")?;
        let answer = self.answer()?;
        let numbers = answer.split_whitespace().map(str::parse::<usize>);
        Ok(numbers.map(|n| n.map(|n| n.checked_sub(1))).collect::<Result<_, _>>()?)
    }

    /// One pass over the packets with each method: its name, and what it took.
    pub fn round(&mut self) -> anyhow::Result<Vec<(String, Duration)>> {
        writeln!(self.commands, "round")?;
        let answer = self.answer()?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        let methods = words.chunks_exact(2);
        methods
            .map(|pair| Ok((pair[0].to_owned(), Duration::from_nanos(pair[1].parse()?))))
            .collect()
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        self.commands.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the peer ended: {}", self.child.wait()?);
        }
        Ok(line)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It holds nothing that outlives it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
