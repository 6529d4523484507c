//! A TOML file as sections whose values are read with their types, and whose faults are collected with their lines.

use super::Environment;
use super::plan::{SecretPlan, SecretSource};
use crate::files::{LARGEST_SECRET, read_text};
use crate::net::tls;
use crate::secret::Secret;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longer values are not quoted in faults.
const LONGEST_QUOTED: usize = 80;

/// A file, and what is wrong with it so far.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    notes: RefCell<Notes>,
    /// Whether secrets and files that the text names are looked at.
    follows_references: bool,
}

#[derive(Default)]
struct Notes {
    /// Where in the file, and what.
    faults: Vec<(usize, String)>,
    warnings: Vec<(usize, String)>,
    secrets: Vec<SecretSource>,
    files: Vec<PathBuf>,
}

/// What reading a file brought to light besides its values.
pub(super) struct Findings {
    /// What is wrong, as `FILE:LINE: …`, in the order of the file.
    pub(super) faults: Vec<String>,
    /// What works and should not be so, likewise.
    pub(super) warnings: Vec<String>,
    /// Where its secrets come from, each place once.
    pub(super) secrets: Vec<SecretSource>,
    /// The files that it names, secrets aside, each once.
    pub(super) files: Vec<PathBuf>,
}

/// What stands for a secret that is not read. Passes every check of form that a secret can get, a push URL's included.
const UNREAD: &str = "https://unread.invalid/api/push/not-read-not-read-not-read";

impl<'a> Document<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            notes: RefCell::default(),
            follows_references: true,
        }
    }

    /// The same, read where the secrets and the files that it names do not exist.
    pub(super) fn without_references(self) -> Self {
        Self {
            follows_references: false,
            ..self
        }
    }

    /// Notes what is wrong at a place in the file, counted in bytes.
    pub(super) fn fault(&self, offset: usize, message: String) {
        self.notes.borrow_mut().faults.push((offset, message));
    }

    /// Notes what works and should not be so.
    pub(super) fn warn(&self, offset: usize, message: String) {
        self.notes.borrow_mut().warnings.push((offset, message));
    }

    /// Everything that was noted.
    pub(super) fn into_findings(self) -> Findings {
        let Notes {
            faults,
            warnings,
            mut secrets,
            mut files,
        } = self.notes.take();
        secrets.sort();
        secrets.dedup();
        files.sort();
        files.dedup();
        let place = |mut notes: Vec<(usize, String)>| {
            notes.sort();
            notes.dedup();
            notes
                .into_iter()
                .map(|(offset, message)| {
                    format!("{}:{}: {message}", self.path.display(), self.line(offset))
                })
                .collect()
        };
        Findings {
            faults: place(faults),
            warnings: place(warnings),
            secrets,
            files,
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The section that a value is, if it is a table.
    pub(super) fn section<'d>(
        &'d self,
        title: String,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Option<Section<'d>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.fault(
                value.span().start,
                format!("{title} is {}, expected a table", kind(value.get_ref())),
            );
            return None;
        };
        Some(Section::new(self, title, value.span().start, table))
    }
}

/// A table of the file: `[sender.NAME]`, a `[[probe]]`, the file itself.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    title: String,
    offset: usize,
    table: &'d DeTable<'d>,
    used: RefCell<BTreeSet<&'static str>>,
}

/// A key of a section and its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'s, 'd> {
    section: &'s Section<'d>,
    key: &'static str,
    pub(super) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        document: &'d Document<'d>,
        title: String,
        offset: usize,
        table: &'d DeTable<'d>,
    ) -> Self {
        Self {
            document,
            title,
            offset,
            table,
            used: RefCell::default(),
        }
    }

    /// The same under another title, once its name is known.
    pub(super) fn titled(mut self, title: String) -> Self {
        self.title = title;
        self
    }

    /// A key, if it is there.
    pub(super) fn entry(&self, key: &'static str) -> Option<Entry<'_, 'd>> {
        self.used.borrow_mut().insert(key);
        let value = self.table.get(key)?;
        Some(Entry {
            section: self,
            key,
            value,
        })
    }

    /// A table inside this one, `[key]`.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'d>> {
        let value = self.entry(key)?.value;
        self.document.section(format!("[{key}]"), value)
    }

    /// The line on which it begins.
    pub(super) fn line(&self) -> usize {
        self.document.line(self.offset)
    }

    /// Notes that something is wrong with the section as a whole.
    pub(super) fn fault(&self, message: &str) {
        self.document.fault(self.offset, self.says(message));
    }

    /// Notes what works and should not be so.
    pub(super) fn warn(&self, message: &str) {
        self.document.warn(self.offset, self.says(message));
    }

    fn says(&self, message: &str) -> String {
        if self.title.is_empty() {
            message.to_owned()
        } else {
            format!("{}: {message}", self.title)
        }
    }

    /// A string that passes `check`; what `check` says is a fault.
    pub(super) fn checked<T>(
        &self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        match check(entry.string()?) {
            Ok(value) => Some(value),
            Err(message) => {
                entry.fault(&message);
                None
            }
        }
    }

    /// The same for a key that has to be there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.table.get(key).is_none() {
            self.missing(key);
        }
        self.checked(key, check)
    }

    fn missing(&self, key: &str) {
        self.fault(&format!("`{key}` is missing"));
    }

    /// One of a few words; the first where the key is not there.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        if self.entry(key).is_none() {
            return words.first().map(|(_, value)| *value);
        }
        self.checked(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = words
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                format!("is none of {}", words.join(", "))
            })
        })
    }

    /// A truth value; `default` where the key is not there.
    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else {
            return default;
        };
        match entry.value.get_ref() {
            DeValue::Boolean(value) => *value,
            _ => {
                entry.wrong_type("true or false");
                default
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, key: &'static str, first: u32, last: u32) -> Option<u32> {
        let entry = self.entry(key)?;
        let DeValue::Integer(integer) = entry.value.get_ref() else {
            entry.wrong_type("an integer");
            return None;
        };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.filter(|value| (first..=last).contains(value));
        if value.is_none() {
            entry.fault(&format!("is out of range, expected {first} to {last}"));
        }
        value
    }

    /// A duration; `default` where the key is not there.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Option<Duration> {
        let Some(entry) = self.entry(key) else {
            return Some(default);
        };
        if entry.value.get_ref().as_str().is_none() {
            entry.wrong_type("a duration such as \"90s\" or \"5m\"");
            return None;
        }
        self.checked(key, |text| {
            humantime::parse_duration(text).map_err(|_| {
                "is not a duration; write it like \"90s\", \"5m\" or \"1h30m\"".to_owned()
            })
        })
    }

    /// A list of strings.
    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<String>> {
        let entry = self.entry(key)?;
        let DeValue::Array(array) = entry.value.get_ref() else {
            entry.wrong_type("a list of strings");
            return None;
        };
        let strings: Vec<String> = array
            .iter()
            .filter_map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect();
        if strings.len() < array.len() {
            entry.fault("has an item that is not a string");
            return None;
        }
        Some(strings)
    }

    /// `ca_file`, which has to hold certificates.
    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        self.checked("ca_file", |path| {
            let path = PathBuf::from(path);
            if self.document.follows_references {
                tls::private_roots(&path).map_err(|why| format!("cannot be used: {why}"))?;
            }
            self.document.notes.borrow_mut().files.push(path.clone());
            Ok(path)
        })
    }

    /// A secret. Read from where it is only if `environment` is given; a reference is checked for its shape in any case.
    pub(super) fn secret(
        &self,
        key: &'static str,
        environment: Option<Environment<'_>>,
    ) -> Option<SecretPlan> {
        self.entry(key)?.secret(environment)
    }

    /// The same for a secret that has to be there.
    pub(super) fn required_secret(
        &self,
        key: &'static str,
        environment: Option<Environment<'_>>,
    ) -> Option<SecretPlan> {
        if self.table.get(key).is_none() {
            self.missing(key);
        }
        self.secret(key, environment)
    }

    /// Notes every key that nothing asked for.
    pub(super) fn end(&self) {
        let used = self.used.borrow();
        for (key, _) in self.table {
            if !used.contains(key.get_ref().as_ref()) {
                let known: Vec<&str> = used.iter().copied().collect();
                self.document.fault(
                    key.span().start,
                    self.says(&format!(
                        "there is no key `{}`; there are: {}",
                        key.get_ref(),
                        known.join(", ")
                    )),
                );
            }
        }
    }
}

impl<'d> Entry<'_, 'd> {
    /// Notes what is wrong with the value, quoting it.
    pub(super) fn fault(self, message: &str) {
        let document = self.section.document;
        let span = self.value.span();
        let source = document.text.get(span.clone()).unwrap_or_default();
        // A URL with an at-sign may hold a password.
        let is_credential = source.contains("://") && source.contains('@');
        let text = if source.len() > LONGEST_QUOTED || source.contains('\n') || is_credential {
            format!("`{}` {message}", self.key)
        } else {
            format!("`{} = {source}` {message}", self.key)
        };
        document.fault(span.start, self.section.says(&text));
    }

    /// Notes what is wrong with a value that nobody should see.
    pub(super) fn hidden_fault(self, message: &str) {
        let text = self.section.says(&format!("`{}` {message}", self.key));
        self.section.document.fault(self.value.span().start, text);
    }

    /// The same key with another value: an item of its list.
    pub(super) fn at(self, value: &'d Spanned<DeValue<'d>>) -> Self {
        Self { value, ..self }
    }

    fn wrong_type(self, expected: &str) {
        let kind = kind(self.value.get_ref());
        self.fault(&format!("is {kind}, expected {expected}"));
    }

    fn string(self) -> Option<&'d str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text
    }

    /// The value as a secret.
    pub(super) fn secret(self, environment: Option<Environment<'_>>) -> Option<SecretPlan> {
        let shape =
            "is no secret; write { env = \"NAME\" }, { file = \"PATH\" } or \"the secret itself\"";
        let (source, value) = match self.value.get_ref() {
            DeValue::String(text) => (SecretSource::Literal, Some(text.to_string())),
            DeValue::Table(table) => {
                let mut keys = table.iter();
                let (Some((key, value)), None) = (keys.next(), keys.next()) else {
                    self.hidden_fault(shape);
                    return None;
                };
                match (key.get_ref().as_ref(), value.get_ref().as_str()) {
                    ("env", Some(name)) => (SecretSource::Variable(name.to_owned()), None),
                    ("file", Some(path)) => (SecretSource::File(path.into()), None),
                    _ => {
                        self.hidden_fault(shape);
                        return None;
                    }
                }
            }
            _ => {
                self.hidden_fault(shape);
                return None;
            }
        };
        if source == SecretSource::Literal {
            self.section.document.warn(
                self.value.span().start,
                self.section.says(&format!(
                    "`{}` stands in the file; {{ env = … }} or {{ file = … }} keeps it out of backups and version control",
                    self.key
                )),
            );
        }
        let document = self.section.document;
        document.notes.borrow_mut().secrets.push(source.clone());
        let environment = environment?;
        let value = match &source {
            SecretSource::Variable(_) | SecretSource::File(_) if !document.follows_references => {
                UNREAD.to_owned()
            }
            SecretSource::Literal => value.unwrap_or_default(),
            SecretSource::Variable(name) => match environment(name) {
                Some(value) => value,
                None => {
                    self.hidden_fault(&format!("comes from variable `{name}`, which is not set"));
                    return None;
                }
            },
            SecretSource::File(path) => match read_text(path, LARGEST_SECRET) {
                Ok(value) => value,
                Err(error) => {
                    let path = path.display();
                    self.hidden_fault(&format!(
                        "comes from file `{path}`, which cannot be read: {error}"
                    ));
                    return None;
                }
            },
        };
        // Editors and `kubectl create secret --from-file` leave a line break behind the last line.
        let value = value.trim_end_matches(['\r', '\n']);
        if value.is_empty() {
            self.hidden_fault(&match &source {
                SecretSource::Literal => "is empty".to_owned(),
                from => format!("comes from {from}, which is empty"),
            });
            return None;
        }
        let value = match &source {
            SecretSource::File(path) => Secret::of_file(path, value),
            SecretSource::Variable(_) | SecretSource::Literal => Secret::new(value),
        };
        Some(SecretPlan { value, source })
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
