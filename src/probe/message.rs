//! Is this message ours? From the bytes of a message, or of the fields that decide it, and our keys.
//!
//! A reply, a vacation answer, a bounce and a colleague's forward all quote a token. Only the message itself is an
//! arrival, and only one that shows every mark may be deleted.

use super::compose::{SUBJECT_PREFIX, TOKEN_FIELD};
use super::report::TokenPlace;
use super::token::{self, Claims, Keyring};
use mail_parser::{HeaderName, HeaderValue, MessageParser, PartType};

/// The header fields that decide whether a message is ours, for a FETCH of these alone.
pub const RECOGNITION_FIELDS: &[&str] = &[
    TOKEN_FIELD,
    "Subject",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "Content-Type",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
    "Resent-Date",
    "Resent-Message-ID",
];

/// A message that one of our runs sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// What its token says.
    pub claims: Claims,
    /// It carries the token in the field *and* in an exact Subject: enough to delete it by.
    pub deletable: bool,
}

/// What a message is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognition {
    /// Sent by one of our runs.
    Ours(Ours),
    /// Carries a token of ours and was not sent by us.
    Quoted {
        /// The token.
        token: String,
        /// Why it is not ours: lower case, no full stop.
        reason: &'static str,
    },
    /// None of our business.
    Foreign,
}

/// Reads a message, or its fields as a FETCH of [`RECOGNITION_FIELDS`] gives them.
#[must_use]
pub fn recognise(header: &[u8], keyring: &Keyring) -> Recognition {
    let fields = Fields::read(header);
    let in_field = match fields.tokens.as_slice() {
        [only] => keyring.verify(only),
        _ => None,
    };
    let in_subject = match fields.subjects.as_slice() {
        [only] => exact(only).and_then(|token| keyring.verify(token)),
        _ => None,
    };
    let Some(claims) = in_field.as_ref().or(in_subject.as_ref()) else {
        return fields.quoted(keyring);
    };
    if let Some(reason) = fields.disqualified {
        return Recognition::Quoted {
            token: claims.token.clone(),
            reason,
        };
    }
    Recognition::Ours(Ours {
        claims: claims.clone(),
        deletable: in_field.is_some() && in_field == in_subject,
    })
}

/// Where in a whole message a token stands, transfer encodings undone.
#[must_use]
pub fn token_places(raw: &[u8], token: &str) -> Vec<TokenPlace> {
    let mut places = Vec::new();
    let fields = Fields::read(raw);
    let carries = |text: &String| text.to_ascii_lowercase().contains(token);
    if fields.tokens.iter().any(carries) {
        places.push(TokenPlace::Header);
    }
    if fields.subjects.iter().any(carries) {
        places.push(TokenPlace::Subject);
    }
    let message = MessageParser::new().with_mime_headers().parse(raw);
    let in_body = message.is_some_and(|message| {
        message.parts.iter().any(|part| match &part.body {
            PartType::Text(text) | PartType::Html(text) => {
                text.to_ascii_lowercase().contains(token)
            }
            _ => false,
        })
    });
    if in_body {
        places.push(TokenPlace::Body);
    }
    places
}

/// What the header of a message says about whose it is.
#[derive(Default)]
struct Fields {
    tokens: Vec<String>,
    subjects: Vec<String>,
    /// Why a message with these fields is not ours, whatever token it carries.
    disqualified: Option<&'static str>,
}

impl Fields {
    fn read(header: &[u8]) -> Self {
        let mut fields = Self::default();
        // Text: unfolded, and encoded words (RFC 2047) read. The default holds only where some field is named; without
        // one, every known field is parsed, and an absurd zone in Received overflows there.
        let parser = MessageParser::new()
            .header_content_type(HeaderName::ContentType)
            .default_header_text();
        let Some(message) = parser.parse_headers(header) else {
            return fields;
        };
        for field in message.headers() {
            let value = text(&field.value);
            let reason = match &field.name {
                HeaderName::Subject => {
                    fields.subjects.push(value);
                    None
                }
                HeaderName::InReplyTo => Some("it is a reply (In-Reply-To)"),
                HeaderName::References => Some("it is a reply (References)"),
                HeaderName::ContentType => value
                    .to_ascii_lowercase()
                    .trim_start()
                    .starts_with("multipart/report")
                    .then_some("it is a report, such as a bounce (multipart/report)"),
                name => {
                    let name = name.as_str();
                    if name.eq_ignore_ascii_case(TOKEN_FIELD) {
                        fields.tokens.push(value);
                        None
                    } else if name.eq_ignore_ascii_case("Auto-Submitted") {
                        is_automatic(&value).then_some("it is an automatic answer (Auto-Submitted)")
                    } else {
                        name.get(..7)
                            .is_some_and(|start| start.eq_ignore_ascii_case("Resent-"))
                            .then_some("somebody sent it on (Resent-* fields)")
                    }
                }
            };
            fields.disqualified = fields.disqualified.or(reason);
        }
        fields
    }

    /// What it is if no token stands where one of ours would.
    fn quoted(&self, keyring: &Keyring) -> Recognition {
        let several = "it has more than one token field";
        let inexact = "its Subject is not the token alone";
        let in_fields = self.tokens.iter().map(|text| (text, several));
        let in_subjects = self.subjects.iter().map(|text| (text, inexact));
        in_fields
            .chain(in_subjects)
            .find_map(|(text, reason)| Some((keyring.verify(&token::find(text)?)?, reason)))
            .map_or(Recognition::Foreign, |(claims, reason)| {
                Recognition::Quoted {
                    token: claims.token,
                    reason: self.disqualified.unwrap_or(reason),
                }
            })
    }
}

/// The token of a Subject that is `[E2E Monitor] <token>` and nothing else. Case and the width of white space, which
/// folding changes, do not matter.
fn exact(subject: &str) -> Option<&str> {
    let mut words = subject.split_whitespace();
    let mut expected = SUBJECT_PREFIX.split_whitespace();
    for word in expected.by_ref() {
        if !words.next()?.eq_ignore_ascii_case(word) {
            return None;
        }
    }
    let token = words.next()?;
    words.next().is_none().then_some(token)
}

/// RFC 3834 section 5: anything but `no`, whatever parameters follow.
fn is_automatic(value: &str) -> bool {
    let keyword = value.split([';', '(']).next().unwrap_or_default();
    !keyword.trim().eq_ignore_ascii_case("no")
}

fn text(value: &HeaderValue<'_>) -> String {
    match value {
        HeaderValue::Text(text) => text.trim().to_owned(),
        HeaderValue::TextList(list) => list.join(" "),
        HeaderValue::ContentType(kind) => {
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
