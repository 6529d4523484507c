//! Everything that reaches a person or a pipe goes through here, so that no secret does.

use crate::secret::redact;
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;

/// Why nothing more goes to stdout: what the first failed attempt met.
static ENDED: OnceLock<ErrorKind> = OnceLock::new();

/// One line of data to stdout. A reader that has gone away (`| head -1`) is not our problem; a disk that takes no more is
/// told of once, and [`is_lost`] then.
pub(super) fn line(text: &str) {
    if ENDED.get().is_none() {
        written(writeln!(stdout(), "{}", redact(text)));
    }
}

/// Takes note of how an attempt to write to stdout ended.
pub(super) fn written(outcome: io::Result<()>) {
    if let Err(told) = outcome
        && ENDED.set(told.kind()).is_ok()
        && told.kind() != ErrorKind::BrokenPipe
    {
        error(&format!(
            "error: cannot write to stdout: {told}\nhint: what was printed is not complete"
        ));
    }
}

/// Whether data for stdout was lost, other than by a reader that had enough.
pub(super) fn is_lost() -> bool {
    ENDED
        .get()
        .is_some_and(|kind| *kind != ErrorKind::BrokenPipe)
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
