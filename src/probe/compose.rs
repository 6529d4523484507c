//! Token and probe in, test message out.

/// The field that carries the token.
pub const TOKEN_FIELD: &str = "X-Mailprobe-Token";

/// What stands before the token in the Subject.
pub const SUBJECT_PREFIX: &str = "[E2E Monitor] ";

/// The one tag that all our messages carry at the provider, so that statistics can leave them out.
pub const TAG: &str = "mailprobe";

/// A test message, in the parts that every kind of sender can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The token.
    pub token: String,
    /// Header From: address.
    pub from: String,
    /// Header From: display name.
    pub from_name: Option<String>,
    /// Recipient.
    pub to: String,
    /// `[E2E Monitor] <token>`: 66 characters, so that the field fits one line of 78 (RFC 5322 section 2.1.1).
    pub subject: String,
    /// Own fields, ASCII only.
    pub headers: Vec<(String, String)>,
    /// text/plain.
    pub text: String,
    /// text/html; no links and no images, which providers rewrite and scanners follow.
    pub html: String,
    /// UUID, one a run: the same for every attempt, so that the provider takes the message once.
    pub idempotency_key: String,
}
