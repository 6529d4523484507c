//! Token and probe in, test message out.

use super::report::rfc3339;
use super::token::Identity;
use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use std::time::Duration;

/// The field that carries the token.
pub const TOKEN_FIELD: &str = "X-Mailprobe-Token";

/// What stands before the token in the Subject.
pub const SUBJECT_PREFIX: &str = "[E2E Monitor] ";

/// The one tag that all our messages carry at the provider, so that statistics can leave them out.
pub const TAG: &str = "mailprobe";

/// Who writes the message: header From.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Address.
    pub address: String,
    /// Display name.
    pub name: Option<String>,
}

/// A test message, in the parts that every kind of sender can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The token.
    pub token: String,
    /// Header Date: the time of sending.
    pub sent_at: DateTime<Utc>,
    /// Header From.
    pub from: Author,
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

/// What a run adds to its probe to make a message.
#[derive(Debug, Clone, Copy)]
pub struct Occasion {
    /// The time of sending.
    pub sent_at: DateTime<Utc>,
    /// How long the run waits from then on.
    pub wait: Duration,
    /// The message is to stay in the mailbox.
    pub keep: bool,
    /// Random: tells two runs of the same millisecond apart.
    pub nonce: [u8; 4],
}

/// The message of one run.
#[must_use]
pub fn compose(identity: &Identity, from: Author, occasion: &Occasion) -> Message {
    let Occasion {
        sent_at,
        wait,
        keep,
        nonce,
    } = *occasion;
    let token = identity.mint(sent_at, wait, keep, nonce);
    let probe = &identity.probe;
    let sent = rfc3339(sent_at);
    let fate = if keep {
        "It was asked to stay in the mailbox."
    } else {
        "It is deleted as soon as it has been seen."
    };
    let text = format!(
        "This message measures whether mail arrives, and how fast. {fate}\r\n\
         No answer is needed.\r\n\
         \r\n\
         probe: {probe}\r\n\
         sent:  {sent}\r\n\
         token: {token}\r\n"
    );
    let html = format!(
        "<html><body><p>This message measures whether mail arrives, and how fast. {fate} No answer is needed.</p>\
         <p>probe: {probe}<br>sent: {sent}<br>token: {token}</p></body></html>"
    );
    Message {
        sent_at,
        from,
        to: identity.to.clone(),
        subject: format!("{SUBJECT_PREFIX}{token}"),
        headers: vec![
            (TOKEN_FIELD.to_owned(), token.clone()),
            // Exchange and others answer no message that says so; what they answer could be taken for mail.
            ("X-Auto-Response-Suppress".to_owned(), "All".to_owned()),
        ],
        text,
        html,
        idempotency_key: idempotency_key(&token),
        token,
    }
}

/// A UUID in the form of random ones (RFC 9562 section 5.4), which is what Brevo takes: the same for one message however
/// often it is handed over, and another one for every other message.
fn idempotency_key(token: &str) -> String {
    let hash = digest(&SHA256, token.as_bytes());
    let bytes = hash.as_ref().first_chunk().copied().unwrap_or_default();
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    uuid.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::token::TokenKey;

    fn message(keep: bool) -> Message {
        let identity = Identity {
            probe: "external".to_owned(),
            to: "probe@example.org".to_owned(),
            key: TokenKey::from_bytes(&[7; 16]),
            previous_keys: Vec::new(),
        };
        let from = Author {
            address: "monitoring@example.org".to_owned(),
            name: None,
        };
        let occasion = Occasion {
            sent_at: DateTime::from_timestamp(1_795_000_000, 0).unwrap(),
            wait: Duration::from_secs(900),
            keep,
            nonce: [1, 2, 3, 4],
        };
        compose(&identity, from, &occasion)
    }

    #[test]
    fn the_subject_line_stays_under_76_characters() {
        let message = message(false);
        assert!(
            format!("Subject: {}", message.subject).len() < 76,
            "{}",
            message.subject
        );
        assert_eq!(message.subject, format!("[E2E Monitor] {}", message.token));
    }

    #[test]
    fn both_bodies_and_the_field_carry_the_token_and_no_link() {
        let message = message(false);
        for body in [&message.text, &message.html] {
            assert!(
                body.contains(&message.token) && !body.contains("://"),
                "{body}"
            );
        }
        assert!(
            message
                .headers
                .contains(&(TOKEN_FIELD.to_owned(), message.token.clone()))
        );
        assert!(
            message
                .headers
                .iter()
                .all(|(name, value)| name.is_ascii() && value.is_ascii())
        );
    }

    #[test]
    fn the_idempotency_key_is_a_uuid_of_version_4_and_each_tokens_own() {
        let key = message(false).idempotency_key;
        assert_eq!(key, "43bfccec-d132-4c77-992d-6f72f09cd1d3");
        assert_ne!(message(true).idempotency_key, key);
    }

    #[test]
    fn a_message_that_is_kept_says_so() {
        assert!(message(true).text.contains("stay"));
        assert!(message(false).text.contains("deleted"));
    }
}
