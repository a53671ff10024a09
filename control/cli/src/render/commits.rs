//! Commits, what they changed, and what differs between them.

use std::fmt::Write;

use comfy_table::Cell;
use sluice_control_api::{Applied, Commit, CommitKind, Confirm, Diff};

use super::{clock, duration, list, table};
use crate::style::{BAD, FAINT, GOOD, NOTE, paint};

/// What a change did: `+2 routes, -1 rule; generation 7`.
pub(crate) fn applied(applied: &Applied) -> String {
    let Applied { generation, changes, .. } = applied;
    let mut text = match applied.dry_run {
        true => format!("would be: {changes}; generation {generation} stays\n"),
        false => format!("{changes}; generation {generation}\n"),
    };
    if let Some(diff) = &applied.diff {
        text.push_str(&entries(diff));
    }
    for worker in &applied.waiting {
        let _ = writeln!(
            text,
            "worker {worker} has not taken it over yet; it does before its next packet"
        );
    }
    if let (Some(confirm), false) = (&applied.confirm, applied.dry_run) {
        let _ = writeln!(text, "{}", paint(NOTE, waits(confirm)));
    }
    for note in &applied.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// `generation 11 comes back in 60 s unless `sluice confirm` comes first`.
pub(super) fn waits(confirm: &Confirm) -> String {
    let Confirm { base, remaining_seconds } = confirm;
    let left = duration(*remaining_seconds);
    format!("generation {base} comes back in {left} unless `sluice confirm` comes first")
}

/// The commit that stays.
pub(crate) fn confirmed(commit: &Commit) -> String {
    format!("confirmed; generation {} stays\n", commit.generation)
}

/// The history, newest first.
pub(crate) fn commits(commits: &[Commit]) -> String {
    let mut text = table(
        ["", "#COMMIT", "TIME (UTC)", "AUTHOR", "WHAT", "CHANGES", "MESSAGE"],
        commits.iter().map(|commit| {
            [
                Cell::new(if commit.live { "*" } else { "" }),
                Cell::new(commit.generation),
                Cell::new(clock(&commit.time)),
                Cell::new(&commit.author),
                Cell::new(what(&commit.kind)),
                Cell::new(commit.changes),
                Cell::new(commit.message.as_deref().unwrap_or("-")),
            ]
        }),
    );
    for confirm in commits.iter().filter_map(|commit| commit.confirm.as_ref()) {
        let _ = writeln!(text, "{}", paint(NOTE, waits(confirm)));
    }
    text
}

/// What was done, in a few words.
pub(super) fn what(kind: &CommitKind) -> String {
    match kind {
        CommitKind::File { file } => format!("file {file}"),
        CommitKind::Route { owners, stale } => match (owners.as_slice(), stale.as_slice()) {
            ([], []) => "route".into(),
            (owners, []) => format!("route of {}", list(owners)),
            ([], stale) => format!("{} stale", list(stale)),
            (owners, stale) => format!("route of {}, {} stale", list(owners), list(stale)),
        },
        CommitKind::Hook { name, loaded: true } => format!("hook {name} loaded"),
        CommitKind::Hook { name, loaded: false } => format!("hook {name} unloaded"),
        CommitKind::Rollback { to } => format!("rollback to {to}"),
        CommitKind::Adopted => "adopted".into(),
        CommitKind::Expired { to } => format!("not confirmed: back to {to}"),
    }
}

/// What differs, as `diff` would say it.
pub(crate) fn diff(diff: &Diff) -> String {
    let to = diff.to.map_or_else(|| "the file".into(), |to| format!("generation {to}"));
    if diff.entries.is_empty() {
        return format!("generation {} and {to} do not differ\n", diff.from);
    }
    let head = format!("from generation {} to {to}", diff.from);
    format!("{}\n{}", paint(FAINT, head), entries(diff))
}

fn entries(diff: &Diff) -> String {
    let mut text = String::new();
    for entry in &diff.entries {
        let name = format!("{} {}", entry.kind.name(), entry.name);
        match (&entry.before, &entry.after) {
            (None, Some(after)) => {
                let _ = writeln!(text, "{}", paint(GOOD, format_args!("+ {name}: {after}")));
            }
            (Some(before), None) => {
                let _ = writeln!(text, "{}", paint(BAD, format_args!("- {name}: {before}")));
            }
            (before, after) => {
                let _ = writeln!(text, "{}", paint(NOTE, format_args!("~ {name}")));
                for (sign, style, side) in [('-', BAD, before), ('+', GOOD, after)] {
                    let side = side.as_deref().unwrap_or_default();
                    let _ = writeln!(text, "{}", paint(style, format_args!("  {sign} {side}")));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use sluice_control_api::{DiffEntry, DiffKind};

    use super::*;

    fn entry(kind: DiffKind, name: &str, before: Option<&str>, after: Option<&str>) -> DiffEntry {
        DiffEntry {
            kind,
            name: name.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        }
    }

    fn some_diff() -> Diff {
        let entries = vec![
            entry(DiffKind::Port, "lan", Some("{ mtu: 1500 }"), Some("{ mtu: 9000 }")),
            entry(DiffKind::Route, "default 10.9.0.0/16 cli", None, Some("via 10.0.2.2")),
            entry(DiffKind::Rule, "default forward no-http", Some("action: drop"), None),
        ];
        Diff { from: 11, to: Some(12), entries }
    }

    const DIFF: &str = "\
~ port lan
  - { mtu: 1500 }
  + { mtu: 9000 }
+ route default 10.9.0.0/16 cli: via 10.0.2.2
- rule default forward no-http: action: drop
";

    #[test]
    fn a_diff_reads_like_one() {
        let text = diff(&some_diff());
        assert_eq!(
            strip_str(&text).to_string(),
            format!("from generation 11 to generation 12\n{DIFF}")
        );
        let same = Diff { from: 11, to: None, entries: Vec::new() };
        assert_eq!(diff(&same), "generation 11 and the file do not differ\n");
    }

    #[test]
    fn a_change_is_told_in_a_line() {
        let mut change = Applied {
            generation: 7,
            dry_run: false,
            changes: Default::default(),
            waiting: Vec::new(),
            notes: Vec::new(),
            diff: None,
            confirm: None,
        };
        change.changes.routes.added = 2;
        assert_eq!(applied(&change), "+2 routes; generation 7\n");
        change.confirm = Some(Confirm { base: 6, remaining_seconds: 60 });
        let text = strip_str(&applied(&change)).to_string();
        assert!(text.contains("generation 6 comes back in 60 s unless `sluice confirm`"), "{text}");
        change.dry_run = true;
        change.diff = Some(some_diff());
        let text = strip_str(&applied(&change)).to_string();
        assert_eq!(text, format!("would be: +2 routes; generation 7 stays\n{DIFF}"));
        change.waiting = vec![1];
        assert!(applied(&change).contains("worker 1"));
    }

    #[test]
    fn the_history_marks_what_is_live_and_says_what_waits() {
        let commit = Commit {
            generation: 12,
            time: "2026-01-02T03:04:05Z".into(),
            author: "alice (sudo)".into(),
            message: Some("close telnet".into()),
            kind: CommitKind::File { file: "router.yaml".into() },
            changes: Default::default(),
            confirm: Some(Confirm { base: 11, remaining_seconds: 42 }),
            live: true,
        };
        let before = Commit { generation: 11, live: false, confirm: None, ..commit.clone() };
        let text = strip_str(&commits(&[commit, before])).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("*") && lines[1].contains("2026-01-02 03:04:05"), "{text}");
        assert!(lines[1].contains("alice (sudo)") && lines[1].ends_with("close telnet"), "{text}");
        assert!(lines[2].starts_with(' ') && lines[2].contains("file router.yaml"), "{text}");
        assert_eq!(lines.len(), 4);
        assert!(lines[3].contains("42 s"), "{text}");
    }
}
