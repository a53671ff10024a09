//! Plots: throughput by how many flows, rules or routes there are, and how many packets took how long.
//! They are SVG without fonts of their own, drawn from the results that `make bench` keeps.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use plotters::prelude::*;
use serde::Deserialize;

const SIZE: (u32, u32) = (640, 360);
/// Colours that are told apart on white and on black, and by the colour-blind (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// A line of a plot: its name and its points.
pub type Line = (String, Vec<(f64, f64)>);

/// What of the results is drawn.
#[derive(Deserialize)]
struct Results {
    series: BTreeMap<String, serde_json::Value>,
}

/// Draws every plot of which the results hold the points; returns the files.
///
/// # Errors
/// The results cannot be read, hold nothing to draw, or a file cannot be written.
pub fn results(path: &Path, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let results: Results = serde_json::from_str(&text)
        .with_context(|| format!("{} holds no results of `make bench`", path.display()))?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let mut files = Vec::new();
    for (name, points) in &results.series {
        if let Some(by) = name.strip_prefix("throughput by ") {
            let points = serde_json::from_value(points.clone())
                .with_context(|| format!("series `{name}`: pairs of numbers are wanted"))?;
            let file = directory.join(format!("throughput-by-{}.svg", by.replace(' ', "-")));
            throughput(&file, by, points)?;
            files.push(file);
        } else if name == "latency" {
            let curves: BTreeMap<String, Vec<(f64, f64)>> = serde_json::from_value(points.clone())
                .with_context(|| format!("series `{name}`: curves by name are wanted"))?;
            let file = directory.join("latency.svg");
            latency(&file, &curves.into_iter().collect::<Vec<_>>())?;
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds nothing to draw", path.display());
    }
    Ok(files)
}

/// Draws packets a second, in millions, by how many of something there are.
fn throughput(file: &Path, by: &str, points: Vec<(f64, f64)>) -> anyhow::Result<()> {
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    // None at all has its place beside one, on a scale of powers.
    let points = points.into_iter().map(|(x, y)| (x.max(1.0), y)).collect::<Vec<_>>();
    let x = range(points.iter().map(|point| point.0));
    Plot { x: by, y: "million packets a second of a core", x_range: x, y_range: 0.0..most * 1.15 }
        .draw(file, &[(String::new(), points)])
}

/// Draws which part of the packets took no longer than what.
pub fn latency(file: &Path, curves: &[Line]) -> anyhow::Result<()> {
    let in_micros: Vec<Line> = curves
        .iter()
        .map(|(name, points)| {
            let points = points.iter().map(|&(ns, part)| (ns / 1000.0, 100.0 * part)).collect();
            (name.clone(), points)
        })
        .collect();
    let x = range(in_micros.iter().flat_map(|line| line.1.iter().map(|point| point.0)));
    Plot { x: "latency in µs", y: "% of packets", x_range: x, y_range: 0.0..100.0 }
        .draw(file, &in_micros)
}

fn range(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min).max(1e-3);
    let most = values.fold(0.0, f64::max);
    if least < most { least..most * 1.02 } else { least * 0.5..least * 2.0 }
}

struct Plot<'a> {
    x: &'a str,
    y: &'a str,
    x_range: Range<f64>,
    y_range: Range<f64>,
}

impl Plot<'_> {
    fn draw(self, file: &Path, lines: &[Line]) -> anyhow::Result<()> {
        let drawn = self.try_draw(file, lines);
        drawn.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
    }

    fn try_draw(self, file: &Path, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(self.x_range.log_scale(), self.y_range)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            let drawn = chart.draw_series(series)?;
            if !name.is_empty() {
                let sample =
                    move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2));
                drawn.label(name).legend(sample);
            }
        }
        if lines.iter().any(|(name, _)| !name.is_empty()) {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        area.present()?;
        Ok(())
    }
}

/// A number as people write it on a scale of powers: 10, 1k, 2.5M.
fn short(number: f64) -> String {
    let (number, unit) = match number {
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let digits = usize::from(number < 10.0 && number.fract() > 0.05);
    format!("{number:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_results_hold_is_drawn() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("results.json");
        let text = r#"{"rows": [], "series": {
            "known": {"1k flows": [20.0, 21.0]},
            "throughput by policy routes": [[0, 50.0], [10, 49.0], [1000, 48.5]],
            "latency": {"sluice": [[9000, 0.0], [12000, 0.5], [90000, 1.0]], "macswap": []}}}"#;
        fs::write(&file, text).unwrap();
        let files = results(&file, &directory.path().join("plots")).unwrap();
        let names: Vec<_> =
            files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["latency.svg", "throughput-by-policy-routes.svg"]);
        for file in files {
            let svg = fs::read_to_string(file).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("<polyline"), "{svg}");
        }
    }

    #[test]
    fn results_without_points_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("results.json");
        for (text, expected) in [
            ("{}", "holds no results"),
            (r#"{"series": {}}"#, "holds nothing to draw"),
            (r#"{"series": {"throughput by flows": "many"}}"#, "pairs of numbers"),
        ] {
            fs::write(&file, text).unwrap();
            let error = format!("{:#}", results(&file, directory.path()).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let written: Vec<_> = [1.0, 10.0, 1000.0, 2500.0, 65536.0, 1e6].map(short).into();
        assert_eq!(written, ["1", "10", "1k", "2.5k", "66k", "1M"]);
    }
}
