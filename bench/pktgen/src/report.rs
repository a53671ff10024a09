//! What trials came to, as a table or as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

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
    /// Whether the generator sent at the rate that was wanted.
    kept_up: bool,
    /// Nanoseconds.
    latency: Latency,
}

#[derive(Serialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// Rows of outcomes.
#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// Adds an outcome.
    pub fn add(&mut self, name: &str, outcome: &Outcome) {
        let at = |quantile| outcome.latency.value_at_quantile(quantile);
        self.0.push(Row {
            name: name.to_owned(),
            rate: outcome.rate(),
            sent: outcome.sent,
            lost: outcome.lost(),
            loss: outcome.loss(),
            disordered: outcome.disordered,
            kept_up: outcome.kept_up(),
            latency: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: outcome.latency.max(),
            },
        });
    }

    /// Prints all of them.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(&self.0)?);
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
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
        for row in &self.0 {
            let latency = &row.latency;
            let times = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
            let mut cells = vec![
                row.name.clone(),
                format!("{:.0}", row.rate),
                row.sent.to_string(),
                row.lost.to_string(),
                row.disordered.to_string(),
            ];
            cells.extend(times.map(|nanos| format!("{:.1} µs", nanos as f64 / 1000.0)));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{table}");
        Ok(())
    }
}
