//! Everything that reaches a person or a pipe goes through here, so that no secret does, and nothing that a stranger wrote
//! steers a terminal.

use crate::secret::redact;
use crate::visible::{escape, escape_line};
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;

/// Why nothing more goes to stdout: what the first failed attempt met.
static ENDED: OnceLock<ErrorKind> = OnceLock::new();

/// One line of data to stdout. A reader that has gone away (`| head -1`) is not our problem; a disk that takes no more is
/// told of once, and [`is_lost`] then.
pub(super) fn line(line: impl Into<Line>) {
    put(&line.into().0);
}

/// Text of several lines to stdout, all of it ours or the operator's own, as it is.
pub(super) fn document(text: &str) {
    put(&redact(text));
}

fn put(text: &str) {
    if ENDED.get().is_none() {
        written(writeln!(stdout(), "{text}"));
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
    line(json.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
}

/// One line to stderr.
pub(super) fn error(text: &str) {
    let _ = writeln!(stderr(), "{}", escape(&redact(text)));
}

/// A line on the terminal behind stderr that the next one replaces; an empty one takes it away.
pub(super) fn live(text: &str) {
    let _ = write!(stderr(), "\r\x1b[K{}", escape_line(&redact(text)));
    let _ = stderr().flush();
}

/// Whether somebody sits in front of it.
pub(super) fn is_terminal() -> bool {
    stdout().is_terminal() || stderr().is_terminal()
}

/// Whether stdout shows colours.
pub(super) fn has_colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line for people: text in which nothing acts, and colours that are ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line(String);

impl Line {
    /// The line with this text behind what it has.
    pub(super) fn plain(mut self, text: &str) -> Self {
        self.0.push_str(&escape_line(&redact(text)));
        self
    }

    /// The same in a colour: green for success, red for failure, yellow for what says nothing; plain where there is none.
    pub(super) fn coloured(mut self, text: &str, colour: Colour) -> Self {
        if !has_colour() {
            return self.plain(text);
        }
        self.0.push_str(&format!("\x1b[{}m", colour as u8));
        let mut line = self.plain(text);
        line.0.push_str("\x1b[0m");
        line
    }
}

impl<T: AsRef<str>> From<T> for Line {
    fn from(text: T) -> Self {
        Self::default().plain(text.as_ref())
    }
}

/// ANSI foreground colours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}
