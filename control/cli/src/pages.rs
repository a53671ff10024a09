//! What is made from the definition of the command line: completions of shells, manual pages.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::failed::Failed;
use crate::help;

/// The manual's section: commands of administrators.
const SECTION: &str = "8";

/// What makes `shell` complete the command's words.
pub(crate) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "sluice", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for each command into `directory`; how many.
pub(crate) fn write_manual(directory: &Path) -> Result<usize, Failed> {
    let failed = |source| Failed::Write { path: directory.into(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    let mut pages = Vec::new();
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    collect(command, &mut pages);
    for (name, page) in &pages {
        let path = directory.join(format!("{name}.{SECTION}"));
        fs::write(&path, page).map_err(|source| Failed::Write { path, source })?;
    }
    Ok(pages.len())
}

/// The pages of a command and of those within it.
fn collect(command: Command, pages: &mut Vec<(String, Vec<u8>)>) {
    for inner in command.get_subcommands().cloned().collect::<Vec<_>>() {
        collect(inner, pages);
    }
    // `sluice route add`; its page is called `sluice-route-add`.
    let path = command.get_bin_name().unwrap_or("sluice").to_owned();
    let extra = extra(&path);
    let manual = Man::new(command).section(SECTION).manual("Sluice");
    let mut page = Vec::new();
    let mut write = || {
        manual.render_title(&mut page)?;
        manual.render_name_section(&mut page)?;
        manual.render_synopsis_section(&mut page)?;
        manual.render_description_section(&mut page)?;
        manual.render_options_section(&mut page)?;
        if path == "sluice" || is_group(&path) {
            manual.render_subcommands_section(&mut page)?;
        }
        extra.to_writer(&mut page)
    };
    write().expect("memory takes what is written");
    pages.push((path.replace(' ', "-"), page));
}

fn is_group(path: &str) -> bool {
    help::examples(path).is_empty()
}

/// The sections that the definition of the command line does not hold.
fn extra(path: &str) -> Roff {
    let mut roff = Roff::new();
    if !help::examples(path).is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (line, purpose) in help::examples(path) {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(*purpose)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in help::EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(*meaning)]);
    }
    if path == "sluice" {
        for (title, entries) in [("ENVIRONMENT", help::ENVIRONMENT), ("FILES", help::FILES)] {
            roff.control("SH", [title]);
            for (name, meaning) in entries {
                roff.control("TP", []);
                roff.text([bold(*name)]);
                roff.text([roman(*meaning)]);
            }
        }
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(
            "docs/operations.md, docs/configuration.md and docs/api.md of the source.",
        )]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_completions_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = completions(shell);
            for word in ["rollback", "commits", "confirm", "neighbours", "--dry-run"] {
                let word = if shell == Shell::Fish { word.trim_start_matches("--") } else { word };
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let directory = tempfile::tempdir().unwrap();
        let pages = write_manual(&directory.path().join("man8")).unwrap();
        let page =
            |name: &str| fs::read_to_string(directory.path().join("man8").join(name)).unwrap();
        assert!(pages > 25, "{pages}");
        let root = page("sluice.8");
        for section in ["NAME", "SYNOPSIS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            let heading = section.replace(' ', r"\ ");
            let there = root.contains(&format!(".SH {section}"))
                || root.contains(&format!(".SH \"{section}\""))
                || root.contains(&heading);
            assert!(there, "{section}: {root}");
        }
        let apply = page("sluice-apply.8");
        assert!(apply.contains(r"\-\-confirm"), "{apply}");
        assert!(page("sluice-show-routes.8").contains("instance"));
        assert!(page("sluice-show.8").contains("SUBCOMMANDS"));
    }
}
