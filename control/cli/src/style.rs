//! Colours. Text is always made with them; what writes it out takes them away again where they are
//! not wanted: when the output is no terminal, or `NO_COLOR` is set.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// What is as it should be, or new.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What is broken, or gone.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What wants attention.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default();
/// What is there for completeness.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The text in a style.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
