//! Secrets: values that no output may show, and the net under every output that makes sure of it.

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockWriteGuard};

/// What stands in every output in the place of a secret.
pub const REDACTED: &str = "<secret>";

/// Shorter values are not searched for in outputs: they would cut up ordinary words.
const SHORTEST_SEARCHED: usize = 5;
/// Of each file the last value and the one before are known for as long as the process lives: an answer that quotes the
/// old one may still be on its way.
const GENERATIONS: usize = 2;

/// Every known secret in every form that a server might echo.
///
/// Process-wide, because the logger is set up before any config is read and outlives it.
static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

/// What one reading of a file gave. A value that is derived from it is known for as long as it is.
type Generation = Arc<u64>;

#[derive(Default)]
struct Known {
    /// Longest first: a short one that is part of a long one would cut it up.
    forms: Vec<Form>,
    /// What was read from each file, the latest last.
    files: HashMap<PathBuf, VecDeque<(String, Generation)>>,
    generations: u64,
}

struct Form {
    text: String,
    /// The number of its generation; none where it is never forgotten.
    generation: Option<u64>,
}

/// A secret value. `Debug`, `Display` and `Serialize` print `<secret>`.
#[derive(Clone)]
pub struct Secret {
    value: String,
    /// None where it is never forgotten.
    generation: Option<Generation>,
}

impl Secret {
    /// Takes a value, and has [`redact`] know it from now on, also in the encodings that our protocols use.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        remember(&value);
        Self {
            value,
            generation: None,
        }
    }

    /// The same for what was read from a file, whose content may be renewed for ever: once there are two newer ones and
    /// nobody has it any more, it is forgotten.
    #[must_use]
    pub fn of_file(path: &Path, value: impl Into<String>) -> Self {
        let value = value.into();
        let generation = Some(known().read_from(path, &value));
        Self { value, generation }
    }

    /// Has [`redact`] know what is derived from this one and secret as well: a SASL response, the token inside a push
    /// URL.
    pub fn remember_derived(&self, value: &str) {
        let generation = self.generation.as_deref().copied();
        known().add(value, generation);
    }

    /// A secret that is derived from this one.
    #[must_use]
    pub fn derived(&self, value: impl Into<String>) -> Self {
        let value = value.into();
        self.remember_derived(&value);
        let generation = self.generation.clone();
        Self { value, generation }
    }

    /// The value itself, for the wire and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Secret {}

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

/// Adds a value, and what it looks like encoded, to what [`redact`] hides for as long as the process lives.
pub fn remember(value: &str) {
    known().add(value, None);
}

fn known() -> RwLockWriteGuard<'static, Known> {
    KNOWN.write().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    fn add(&mut self, value: &str, generation: Option<u64>) {
        if value.len() < SHORTEST_SEARCHED {
            return;
        }
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let base64 = data_encoding::BASE64.encode(value.as_bytes());
        let debug = format!("{value:?}");
        let debug = debug.trim_matches('"').to_owned();
        for text in [value.to_owned(), quoted, percent, base64, debug] {
            let begin = self
                .forms
                .partition_point(|form| form.text.len() > text.len());
            let as_long = self.forms.iter().skip(begin);
            let is_known = as_long
                .take_while(|form| form.text.len() == text.len())
                .any(|form| form.text == text && form.generation == generation);
            if !is_known {
                self.forms.insert(begin, Form { text, generation });
            }
        }
    }

    /// Takes what a file says now, and forgets what it said long ago.
    fn read_from(&mut self, path: &Path, value: &str) -> Generation {
        let values = self.files.entry(path.to_owned()).or_default();
        let again = values.iter().position(|(known, _)| known == value);
        if let Some(again) = again.and_then(|place| values.remove(place)) {
            let generation = Arc::clone(&again.1);
            values.push_back(again);
            return generation;
        }
        self.generations += 1;
        let generation = Arc::new(self.generations);
        values.push_back((value.to_owned(), Arc::clone(&generation)));
        let old = values.len().saturating_sub(GENERATIONS);
        let mut forgotten = Vec::new();
        let mut place = 0;
        values.retain(|(_, generation)| {
            place += 1;
            // Somebody has it: a plan that is in use, or a log-in under way.
            let stays = place > old || Arc::strong_count(generation) > 1;
            if !stays {
                forgotten.push(Some(**generation));
            }
            stays
        });
        if !forgotten.is_empty() {
            self.forms
                .retain(|form| !forgotten.contains(&form.generation));
        }
        self.add(value, Some(*generation));
        generation
    }
}

/// The text with every known secret replaced by `<secret>`.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut clean = Cow::Borrowed(text);
    for form in &known.forms {
        if clean.contains(form.text.as_str()) {
            clean = Cow::Owned(clean.replace(form.text.as_str(), REDACTED));
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
    fn a_thousand_renewed_tokens_leave_two_and_none_that_somebody_has_is_forgotten() {
        let path = Path::new("/run/secrets/token-of-a-test");
        let forms_of_test = || {
            let known = KNOWN.read().unwrap();
            let ours = known.files[path].iter().map(|(_, one)| Some(**one));
            let ours: Vec<_> = ours.collect();
            let ours = known
                .forms
                .iter()
                .filter(|form| ours.contains(&form.generation));
            ours.count()
        };
        let token = |number: usize| format!("ya29.token+{number:04}-of-a-thousand");
        let response = |number: usize| format!("user=me auth=Bearer {number:04}-and-more");
        let hides = |text: &str| redact(text) == REDACTED;
        let first = Secret::of_file(path, token(0));
        let monitor = first.derived("push-url-of-0000");
        drop(first);
        let mut most = 0;
        for number in 1..=1000 {
            let current = Secret::of_file(path, token(number));
            current.remember_derived(&response(number));
            drop(current);
            most = most.max(forms_of_test());
            for known in [number, number - 1] {
                assert!(hides(&token(known)), "{number}: {known}");
                assert!(known == 0 || hides(&response(known)), "{number}: {known}");
            }
            assert!(hides(&token(0)) && hides(monitor.expose()), "{number}");
        }
        assert!(most <= 3 * 2 * 5, "{most} forms");
        assert_eq!(redact(&token(998)), token(998));
        assert_eq!(redact(&response(998)), response(998));
        // What is read once more is the latest again.
        let _ = Secret::of_file(path, token(999));
        let _ = Secret::of_file(path, token(1001));
        assert!(hides(&token(999)) && !hides(&token(1000)));
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
