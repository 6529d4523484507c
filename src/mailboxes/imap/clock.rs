//! The clock of the server, measured with a message of our own that is stored and deleted again. For `check --write`.

use super::connect::remaining;
use super::session::COMMAND_LIMIT;
use super::trouble::{Step, Trouble};
use super::{ImapMailbox, LOGOUT_LIMIT, fetch, folders};
use crate::probe::verdict::Cause;
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio::time::Instant;

/// What storing a message and deleting it again showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clock {
    /// The server's clock is so many seconds ahead of ours, behind where negative; one second of grain (INTERNALDATE).
    Ahead(f64),
    /// The server has no UIDPLUS, so the message could not be deleted alone, and none was stored.
    Unmeasured,
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
        let step = Step::Handle(folder.clone());
        let trouble = |fault| Trouble::of_command(step.clone(), &fault);
        let limit = || remaining(end, COMMAND_LIMIT);
        let before = Utc::now();
        let message = message(&self.account.plan.username, before);
        let quoted = folders::quoted(&folder);
        let uid = session.append(&quoted, &message, limit()).await;
        let uid = uid.map_err(trouble)?;
        let after = Utc::now();
        let Some(uid) = uid else {
            session.logout(LOGOUT_LIMIT).await;
            return Err(Trouble::unreachable(
                step,
                "the server does not say where it stored a message",
            ));
        };
        folders::select(&mut session, &folder, limit())
            .await
            .map_err(trouble)?;
        let stored_at = fetch::stored_at(&mut session, uid, limit()).await;
        let mark = format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)");
        session
            .command(&mark, limit(), |_| ())
            .await
            .map_err(trouble)?;
        let expunge = format!("UID EXPUNGE {uid}");
        session
            .command(&expunge, limit(), |_| ())
            .await
            .map_err(trouble)?;
        let left = fetch::present(&mut session, &[uid], limit())
            .await
            .map_err(trouble)?;
        session.logout(LOGOUT_LIMIT).await;
        if !left.is_empty() {
            return Ok(Clock::Left(uid));
        }
        let stored_at = stored_at.map_err(trouble)?;
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

fn message(to: &str, now: DateTime<Utc>) -> String {
    format!(
        "From: mailprobe <{to}>\r\nTo: <{to}>\r\nSubject: mailprobe check\r\nDate: {}\r\n\r\n\
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
