//! What the control process answers, for people: tables without borders, at most 100 columns on
//! a terminal, one line a row when piped.

mod commits;
mod counters;
mod event;
mod flows;
mod hooks;
mod pipeline;
mod runtime;
mod status;
mod tables;

pub(crate) use commits::{applied, commits, confirmed, diff};
pub(crate) use counters::{drops, stats};
pub(crate) use event::event;
pub(crate) use flows::{flow, flows, known_flow};
pub(crate) use hooks::{hooks, programs};
pub(crate) use pipeline::pipeline;
pub(crate) use runtime::runtime;
pub(crate) use status::{status, workers};
pub(crate) use tables::{interfaces, neighbours, policy_routes, ports, routes, rules};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};

/// Widest line on a terminal.
const WIDTH: u16 = 100;

/// A table; a heading that begins with `#` is of numbers, which stand at the right.
fn table<const N: usize, T: Into<Cell>>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [T; N]>,
) -> String {
    columns(&headings, rows)
}

/// The same, where what is shown says how many columns there are.
fn columns<R: IntoIterator<Item: Into<Cell>>>(
    headings: &[&str],
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING).enforce_styling();
    if table.is_tty() {
        let width = table.width().map_or(WIDTH, |width| width.min(WIDTH));
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(headings.iter().map(|heading| heading.trim_start_matches('#')));
    let rows: Vec<_> = rows.into_iter().collect();
    let empty = rows.is_empty();
    table.add_rows(rows);
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('#') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text: String =
        table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect();
    if empty {
        text.push_str("(none)\n");
    }
    text
}

/// A cell that stands out if something is wrong with what it says.
fn cell(text: impl ToString, wrong: bool) -> Cell {
    let cell = Cell::new(text);
    if wrong { cell.fg(Color::DarkRed) } else { cell }
}

/// `2026-01-02 03:04:05` of a time as the interface writes it; in UTC as there.
fn clock(time: &str) -> String {
    time.get(..19).unwrap_or(time).replacen('T', " ", 1)
}

/// A list with commas, `-` for an empty one.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "-".into() } else { items.join(",") }
}

/// A value, `-` for none.
fn maybe<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// `12 s`, `3 min`, `5 h`, `2 d`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Text in lines of at most [`WIDTH`] columns, each behind `indent`.
pub(crate) fn wrap(indent: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        let begun = line.len() > indent.len();
        if begun && line.chars().count() + 1 + word.chars().count() > usize::from(WIDTH) {
            lines.push_str(&line);
            lines.push('\n');
            line.truncate(indent.len());
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_and_aligned() {
        let rows = [["a", "1"], ["bcd", "100"]];
        assert_eq!(
            table(["NAME", "#N"], rows),
            "NAME  N\na       1\nbcd   100\n".replace("NAME  N", "NAME    N")
        );
        assert_eq!(table(["NAME"], [] as [[&str; 1]; 0]), "NAME\n(none)\n");
    }

    #[test]
    fn text_is_wrapped_at_words() {
        let text = "word ".repeat(50);
        let wrapped = wrap("    ", &text);
        assert!(wrapped.lines().all(|line| line.len() <= 100 && line.starts_with("    word")));
        assert_eq!(wrapped.split_whitespace().count(), 50);
    }

    #[test]
    fn durations_are_short() {
        let all: Vec<_> = [0, 119, 120, 7200, 200_000].into_iter().map(duration).collect();
        assert_eq!(all, ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
