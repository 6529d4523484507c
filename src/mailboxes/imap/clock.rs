//! The clock of the server, measured with a message of our own that is stored and deleted again. For `check --write`.

use super::connect::remaining;
use super::session::COMMAND_LIMIT;
use super::trouble::{Step, Trouble};
use super::{ImapMailbox, LOGOUT_LIMIT, cleanup, fetch, folders};
use crate::probe::verdict::Cause;
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio::time::Instant;

/// What storing a message and deleting it again showed.
#[derive(Debug, Clone, PartialEq)]
pub enum Clock {
    /// The server's clock is so many seconds ahead of ours, behind where negative; one second of grain (INTERNALDATE).
    Ahead(f64),
    /// The server has no UIDPLUS, so the message could not be deleted alone, and none was stored.
    Unmeasured,
    /// The server takes no message by APPEND, in these words.
    Refused(String),
    /// The message was stored, and where the server says that it is, under this UID if it says one, it is not: nothing
    /// was deleted.
    Astray(Option<u32>),
    /// The message was stored, under this UID, and is still there.
    Left(u32),
}

impl ImapMailbox {
    /// Stores a message in the first folder, reads when the server thinks that was, and deletes it.
    ///
    /// # Errors
    /// What could not be done.
    pub async fn clock(&self, limit: Duration) -> Result<Clock, Cause> {
        let end = Instant::now() + limit;
        self.measure(end)
            .await
            .map_err(|trouble| trouble.cause(&self.account.plan))
    }

    async fn measure(&self, end: Instant) -> Result<Clock, Trouble> {
        let folder = self.account.plan.folders.first();
        let folder = folders::encoded(folder.map_or("INBOX", String::as_str));
        let mut session = self.account.log_in(end).await?;
        // UID EXPUNGE deletes one message, and APPENDUID says which (RFC 4315).
        if !session.can("UIDPLUS") {
            session.logout(LOGOUT_LIMIT).await;
            return Ok(Clock::Unmeasured);
        }
        let limit = || remaining(end, COMMAND_LIMIT);
        let before = Utc::now();
        let mark = mark(before);
        let message = message(&self.account.plan.username, before, &mark);
        let quoted = folders::quoted(&folder);
        let stored = session.append(&quoted, &message, limit()).await;
        let after = Utc::now();
        let place = match stored {
            Ok(place) => place,
            // No room for it is no room for mail either; any other refusal is about APPEND alone, which no run needs.
            Err(fault)
                if fault.leaves_session_usable()
                    && fault.code().as_deref() != Some("OVERQUOTA") =>
            {
                session.logout(LOGOUT_LIMIT).await;
                return Ok(Clock::Refused(fault.to_string()));
            }
            Err(fault) => return Err(Trouble::of_command(Step::Store(folder), &fault)),
        };
        let trouble = |fault| Trouble::of_command(Step::Handle(folder.clone()), &fault);
        let Some((uid_validity, uid)) = place else {
            session.logout(LOGOUT_LIMIT).await;
            return Ok(Clock::Astray(None));
        };
        folders::select(&mut session, &folder, limit())
            .await
            .map_err(trouble)?;
        // A number alone proves nothing: what is deleted is the message that carries our mark.
        let told = fetch::message(&mut session, uid, limit()).await;
        let told = told.map_err(trouble)?;
        let stored_at = told
            .filter(|told| contains(&told.fields, &mark))
            .map(|told| told.stored_at);
        let Some(stored_at) = stored_at.filter(|_| session.uid_validity() == uid_validity) else {
            session.logout(LOGOUT_LIMIT).await;
            return Ok(Clock::Astray(Some(uid)));
        };
        let gone = cleanup::expunge(&mut session, uid, uid_validity, end)
            .await
            .map_err(trouble)?;
        session.logout(LOGOUT_LIMIT).await;
        if !gone {
            return Ok(Clock::Left(uid));
        }
        Ok(stored_at.map_or(Clock::Unmeasured, |at| {
            Clock::Ahead(ahead(at, before, after))
        }))
    }
}

/// How far the server's clock is ahead, where it stored a message between these two moments and tells whole seconds.
fn ahead(stored_at: DateTime<Utc>, before: DateTime<Utc>, after: DateTime<Utc>) -> f64 {
    let seconds = |from: DateTime<Utc>| stored_at.signed_duration_since(from).as_seconds_f64();
    // The stored second began up to a second before the message was stored.
    let (most, least) = (seconds(before) + 1.0, seconds(after));
    if most < 0.0 {
        most
    } else if least > 0.0 {
        least
    } else {
        0.0
    }
}

/// What no other message carries.
fn mark(now: DateTime<Utc>) -> String {
    let mut random = [0; 16];
    // Without randomness the time to the microsecond has to do.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    let random = data_encoding::HEXLOWER.encode(&random);
    format!("mailprobe-check-{}-{random}", now.timestamp_micros())
}

fn contains(message: &[u8], mark: &str) -> bool {
    message
        .windows(mark.len())
        .any(|window| window == mark.as_bytes())
}

fn message(to: &str, now: DateTime<Utc>, mark: &str) -> String {
    format!(
        "From: mailprobe <{to}>\r\nTo: <{to}>\r\nSubject: mailprobe check\r\nDate: {}\r\n\
         Message-ID: <{mark}@localhost>\r\n\r\n\
         Stored by `mailprobe check --write` to compare clocks, and deleted at once.",
        now.to_rfc2822()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_only_by_what_the_grain_cannot_explain() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (before, after) = (
            at("2026-11-25T04:00:00.900Z"),
            at("2026-11-25T04:00:01.100Z"),
        );
        assert_eq!(ahead(at("2026-11-25T04:00:00Z"), before, after), 0.0);
        assert_eq!(ahead(at("2026-11-25T04:00:01Z"), before, after), 0.0);
        assert!((ahead(at("2026-11-25T04:00:11Z"), before, after) - 9.9).abs() < 1e-6);
        assert!((ahead(at("2026-11-25T03:59:00Z"), before, after) + 59.9).abs() < 1e-6);
    }
}
