//! What strangers write, made visible: subjects, replies of servers and names of folders reach terminals and logs, and
//! must neither steer them nor turn the order of what is read around.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every character that acts instead of being seen written as `\uXXXX`, line breaks and tabs aside.
///
/// Each of these stands inside a string where it stands in JSON, so JSON stays the same value.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            // All of them are below U+10000. Writing to a string does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same for what has to stay on one line.
#[must_use]
pub fn escape_line(text: &str) -> Cow<'_, str> {
    match escape(text) {
        escaped if escaped.contains(['\n', '\t']) => Cow::Owned(escaped.replace(['\n', '\t'], " ")),
        escaped => escaped,
    }
}

/// A writer that makes what goes through it visible. Whole characters must come in one `write`.
#[derive(Debug)]
pub struct Visible<W>(pub W);

impl<W: std::io::Write> std::io::Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(escape(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Control characters (C0, DEL, C1), marks that change the direction of what follows (Unicode Standard Annex 9), and
/// line breaks beyond ASCII.
fn acts(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_written_out_and_all_else_is_left_alone() {
        for c in (0..0x3000).filter_map(char::from_u32) {
            let acts = matches!(u32::from(c),
                0..=8 | 0xb..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e..=0x200f | 0x2028..=0x202e | 0x2066..=0x2069);
            let expected = if acts {
                format!("a\\u{:04x}b", u32::from(c))
            } else {
                format!("a{c}b")
            };
            assert_eq!(escape(&format!("a{c}b")), expected);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{9b}31m": ["\u{202e}\u{7f}\n\"\\", "ü 漢 😀 \u{1b}"]});
        let text = value.to_string();
        let escaped = escape(&text);
        assert!(
            !escaped.contains(['\u{9b}', '\u{202e}', '\u{7f}']),
            "{escaped}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            value
        );
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(escape_line("one\r\ntwo\tthree"), "one\\u000d two three");
        assert!(matches!(escape_line("one"), Cow::Borrowed("one")));
    }
}
