//! Everything that reaches a person or a pipe goes through here, so that no secret does.

use crate::secret::redact;
use serde::Serialize;
use std::io::{IsTerminal, Write, stderr, stdout};

/// One line of data to stdout. A reader that has gone away is not our problem.
pub(super) fn line(text: &str) {
    let _ = writeln!(stdout(), "{}", redact(text));
}

/// One JSON object on one line to stdout.
pub(super) fn json(value: &impl Serialize) {
    let json = serde_json::to_string(value);
    line(&json.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
}

/// One line to stderr.
pub(super) fn error(text: &str) {
    let _ = writeln!(stderr(), "{}", redact(text));
}

/// Whether somebody sits in front of it.
pub(super) fn is_terminal() -> bool {
    stdout().is_terminal() || stderr().is_terminal()
}

/// Whether stdout shows colours.
pub(super) fn has_colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Green for success, red for failure, yellow for what says nothing; plain where there is no colour.
pub(super) fn coloured(text: &str, colour: Colour) -> String {
    if has_colour() {
        format!("\x1b[{}m{text}\x1b[0m", colour as u8)
    } else {
        text.to_owned()
    }
}

/// ANSI foreground colours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}
