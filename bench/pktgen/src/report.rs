//! What trials came to, as a table or as JSON.

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::search::Bursts;
use crate::trial::Outcome;

/// A row of the report.
#[derive(Serialize)]
struct Row {
    name: String,
    /// Packets a second.
    rate: f64,
    sent: u64,
    lost: u64,
    loss: f64,
    disordered: u64,
    /// Packets that were due and that the device had no room for.
    refused: u64,
    /// The longest time in nanoseconds in which the generator looked at no port.
    still: u64,
    /// Whether the generator sent at the rate that was wanted.
    kept_up: bool,
    /// One way; none if packets carry no stamp.
    latency: Option<Latency>,
    /// There and back, if packets were turned round.
    #[serde(skip_serializing_if = "Option::is_none")]
    two_way: Option<Latency>,
}

/// Times in nanoseconds.
#[derive(Serialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
    /// Which part of the packets took no longer than what: points of a curve.
    curve: Vec<(u64, f64)>,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        let points = histogram.iter_quantiles(4);
        let mut curve: Vec<_> = points.map(|at| (at.value_iterated_to(), at.quantile())).collect();
        // Of points of one value, the last is what all up to it come to.
        curve.reverse();
        curve.dedup_by_key(|point| point.0);
        curve.reverse();
        Some(Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            curve,
        })
    }
}

/// A row about bursts.
#[derive(Serialize)]
struct Longest {
    name: &'static str,
    /// Packets a second within a burst.
    rate: f64,
    /// The longest burst that was carried whole, in packets: on average of the searches.
    average: f64,
    shortest: u64,
    longest: u64,
    searches: usize,
    /// Whether nothing longer was tried.
    limited: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Trial(Row),
    Bursts(Longest),
}

/// Rows of outcomes.
#[derive(Default)]
pub struct Report(Vec<Line>);

impl Report {
    /// Adds an outcome.
    pub fn add(&mut self, name: &str, outcome: &Outcome) {
        self.0.push(Line::Trial(Row {
            name: name.to_owned(),
            rate: outcome.rate(),
            sent: outcome.sent,
            lost: outcome.lost(),
            loss: outcome.loss(),
            disordered: outcome.disordered,
            refused: outcome.refused,
            still: outcome.still,
            kept_up: outcome.kept_up(),
            latency: Latency::of(&outcome.latency),
            two_way: outcome.two_way.as_ref().and_then(Latency::of),
        }));
    }

    /// Adds what was found about bursts.
    pub fn add_bursts(&mut self, bursts: &Bursts) {
        let total: u64 = bursts.packets.iter().sum();
        self.0.push(Line::Bursts(Longest {
            name: "back-to-back",
            rate: bursts.rate,
            average: total as f64 / bursts.packets.len().max(1) as f64,
            shortest: bursts.packets.iter().copied().min().unwrap_or(0),
            longest: bursts.packets.iter().copied().max().unwrap_or(0),
            searches: bursts.packets.len(),
            limited: bursts.limited,
        }));
    }

    /// The curves of latency, by the names of their rows.
    pub fn curves(&self) -> Vec<(String, Vec<(f64, f64)>)> {
        let mut curves = Vec::new();
        for line in &self.0 {
            let Line::Trial(row) = line else { continue };
            for (way, latency) in [("", &row.latency), (", two ways", &row.two_way)] {
                let Some(latency) = latency else { continue };
                let points = latency.curve.iter().map(|&(ns, part)| (ns as f64, part)).collect();
                curves.push((format!("{}{way}", row.name), points));
            }
        }
        curves
    }

    /// Prints all of them.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(&self.0)?);
            return Ok(());
        }
        let mut table = table([
            "",
            "PACKETS/S",
            "SENT",
            "LOST",
            "DISORDERED",
            "P50",
            "P90",
            "P99",
            "P99.9",
            "MAX",
        ]);
        for line in &self.0 {
            match line {
                Line::Trial(row) => {
                    table.add_row(row.cells());
                    if let Some(two_way) = &row.two_way {
                        let mut cells = vec!["  two ways".to_owned()];
                        cells.resize(5, String::new());
                        cells.extend(two_way.cells());
                        table.add_row(cells);
                    }
                }
                Line::Bursts(row) => {
                    let more = if row.limited { " or more" } else { "" };
                    println!(
                        "back-to-back: {:.0} packets{more} at {:.0}/s ({} to {}, {} searches)",
                        row.average, row.rate, row.shortest, row.longest, row.searches
                    );
                }
            }
        }
        if table.row_count() > 0 {
            println!("{table}");
        }
        Ok(())
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.name.clone(),
            format!("{:.0}", self.rate),
            self.sent.to_string(),
            self.lost.to_string(),
            self.disordered.to_string(),
        ];
        match &self.latency {
            Some(latency) => cells.extend(latency.cells()),
            None => cells.resize(10, "-".to_owned()),
        }
        cells
    }
}

impl Latency {
    fn cells(&self) -> [String; 5] {
        let times = [self.p50, self.p90, self.p99, self.p999, self.max];
        times.map(|nanos| format!("{:.1} µs", nanos as f64 / 1000.0))
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_to_all_packets() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        (1..=100_000_u64).for_each(|n| histogram.record(n).unwrap());
        let latency = Latency::of(&histogram).unwrap();
        assert!((49_900..50_200).contains(&latency.p50), "{}", latency.p50);
        assert!(latency.curve.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1));
        assert!(latency.curve.len() < 200, "{} points", latency.curve.len());
        assert!((latency.curve.last().unwrap().1 - 1.0).abs() < 1e-9);
        histogram.clear();
        assert!(Latency::of(&histogram).is_none());
    }

    #[test]
    fn bursts_are_averaged() {
        let mut report = Report::default();
        report.add_bursts(&Bursts { packets: vec![10, 20, 60], rate: 1e6, limited: false });
        let json = serde_json::to_value(&report.0).unwrap();
        assert_eq!(json[0]["average"], 30.0);
        assert_eq!((&json[0]["shortest"], &json[0]["longest"]), (&10.into(), &60.into()));
    }
}
