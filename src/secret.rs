//! Secrets: values that no output may show, and the net under every output that makes sure of it.

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// What stands in every output in the place of a secret.
pub const REDACTED: &str = "<secret>";

/// Shorter values are not searched for in outputs: they would cut up ordinary words.
const SHORTEST_SEARCHED: usize = 5;

/// Every known secret in every form that a server might echo, longest first.
///
/// Process-wide, because the logger is set up before any config is read and outlives it.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// A secret value. `Debug`, `Display` and `Serialize` print `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value, and has [`redact`] know it from now on, also in the encodings that our protocols use.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        remember(&value);
        Self(value)
    }

    /// The value itself, for the wire and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Adds a value, and what it looks like encoded, to what [`redact`] hides.
///
/// For text derived from a secret (a SASL response, the token inside a push URL) that is one itself.
pub fn remember(value: &str) {
    if value.len() < SHORTEST_SEARCHED {
        return;
    }
    let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
    let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let base64 = data_encoding::BASE64.encode(value.as_bytes());
    let debug = format!("{value:?}");
    let debug = debug.trim_matches('"').to_owned();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for form in [value.to_owned(), quoted, percent, base64, debug] {
        if !known.contains(&form) {
            known.push(form);
        }
    }
    known.sort_by_key(|form| std::cmp::Reverse(form.len()));
}

/// The text with every known secret replaced by `<secret>`.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut clean = Cow::Borrowed(text);
    for form in known.iter() {
        if clean.contains(form.as_str()) {
            clean = Cow::Owned(clean.replace(form.as_str(), REDACTED));
        }
    }
    clean
}

/// A writer that lets no known secret pass. Whole lines must come in one `write`, as the logger does it.
#[derive(Debug)]
pub struct Redacting<W>(pub W);

impl<W: std::io::Write> std::io::Write for Redacting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(redact(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_secret_shows_itself_in_no_form_of_output() {
        let secret = Secret::new("pa\"ss w0rd&1");
        assert_eq!(format!("{secret:?} {secret}"), "<secret> <secret>");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<secret>\"");
    }

    #[test]
    fn text_that_quotes_a_secret_in_any_encoding_comes_out_clean() {
        let secret = Secret::new("pa\"ss w0rd&2");
        let base64 = data_encoding::BASE64.encode(secret.expose().as_bytes());
        for text in [
            r#"a1 LOGIN "me" "pa\"ss w0rd&2""#.to_owned(),
            "key=pa%22ss+w0rd%262".to_owned(),
            format!("AUTH {base64}"),
            format!("{:?}", secret.expose()),
        ] {
            let clean = redact(&text);
            assert!(clean.contains(REDACTED), "{clean}");
            assert!(!clean.contains("w0rd"), "{clean}");
        }
    }

    #[test]
    fn the_writer_replaces_a_secret_and_says_it_took_all_bytes() {
        let secret = Secret::new("hunter2-writer");
        let mut out = Redacting(Vec::new());
        let line = format!("log: {}\n", secret.expose());
        out.write_all(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out.0).unwrap(), "log: <secret>\n");
    }
}
