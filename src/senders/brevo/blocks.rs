//! Brevo's block of the recipient: one hard bounce mutes an address for good, and every later send still gets a yes.

use super::Brevo;
use super::answers::ASK;
use crate::probe::send::Preparation;
use crate::probe::verdict::{Cause, CauseCode, Stage, Warning};
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// The list has no look-up for one address, and is read newest first, so far and so long.
const PAGES: usize = 5;
const PAGE: usize = 100;
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);
/// A server that refuses while it is down would bounce for ever: from so many in a day on, a person decides.
const BOUNCES_OF_A_DAY: usize = 3;

#[derive(Deserialize)]
struct Page {
    contacts: Option<Vec<Contact>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contact {
    email: Option<String>,
    sender_email: Option<String>,
    blocked_at: Option<String>,
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Events {
    events: Option<Vec<serde_json::Value>>,
}

/// Looks the recipient up, and lifts a block that a bounce or an unsubscribe link made.
pub(super) async fn prepare(brevo: &Brevo, to: &str, limit: Duration) -> Preparation {
    let end = Instant::now() + limit;
    let mut preparation = Preparation::default();
    let contact = match look_up(brevo, to, limit.min(LOOK_UP_LIMIT)).await {
        Ok(None) => return preparation,
        Ok(Some(contact)) => contact,
        Err(cause) => {
            preparation.warnings.push(unknown(brevo, cause));
            return preparation;
        }
    };
    let block = Block::of(&contact, to, brevo);
    if !block.is_liftable {
        preparation.blocked = Some(block.stays(
            "Brevo lifts it on request of the account's owner only: see Transactional, Settings, Blocked contacts",
        ));
        return preparation;
    }
    match bounces_today(brevo, to, left(end)).await {
        Ok(count) if count >= BOUNCES_OF_A_DAY => {
            let hint = format!(
                "{count} hard bounces in a day: our server refuses for good what it should refuse for now; mend that, then unblock `{to}` at Brevo under Blocked contacts"
            );
            preparation.blocked = Some(block.stays(&hint));
            return preparation;
        }
        Ok(_) => {}
        Err(cause) => preparation.warnings.push(unknown(brevo, cause)),
    }
    match lift(brevo, to, left(end)).await {
        Ok(()) => preparation.lifted = Some(block.lifted()),
        Err(cause) => {
            let hint = format!(
                "unblock `{to}` at Brevo under Blocked contacts; it could not be done here: {}",
                cause.summary
            );
            preparation.blocked = Some(block.stays(&hint));
        }
    }
    preparation
}

/// See [`Brevo::block`].
pub(super) async fn block(
    brevo: &Brevo,
    to: &str,
    limit: Duration,
) -> Result<Option<(Cause, bool)>, Cause> {
    let contact = look_up(brevo, to, limit.min(LOOK_UP_LIMIT)).await?;
    Ok(contact.map(|contact| {
        let block = Block::of(&contact, to, brevo);
        let is_lifted = block.is_liftable && brevo.plan.unblock_recipient;
        let hint = if is_lifted {
            "the next run lifts it; what did our server refuse for good, and why?"
        } else {
            "unblock it at Brevo under Transactional, Settings, Blocked contacts"
        };
        (block.stays(hint), is_lifted)
    }))
}

async fn look_up(brevo: &Brevo, to: &str, limit: Duration) -> Result<Option<Contact>, Cause> {
    let end = Instant::now() + limit;
    for page in 0..PAGES {
        let query = [
            ("limit", PAGE.to_string()),
            ("offset", (page * PAGE).to_string()),
        ];
        let path = ["smtp", "blockedContacts"];
        let answer = brevo.ask(Method::GET, &path, &query, left(end)).await?;
        let Some(body) = answer.json::<Page>() else {
            return Err(brevo.classifier(ASK).of_nonsense(&answer).cause);
        };
        let contacts = body.contacts.unwrap_or_default();
        let count = contacts.len();
        let ours = contacts.into_iter().find(|contact| {
            let email = contact.email.as_deref().unwrap_or_default();
            email.eq_ignore_ascii_case(to) && concerns(contact, &brevo.plan.from)
        });
        if ours.is_some() || count < PAGE || Instant::now() >= end {
            return Ok(ours);
        }
    }
    Ok(None)
}

/// Unsubscribing blocks one sender's mail; all other reasons block the whole account's.
fn concerns(contact: &Contact, from: &str) -> bool {
    let by_unsubscribing = contact.code().starts_with("unsubscribed");
    let sender = contact.sender_email.as_deref().unwrap_or_default();
    !by_unsubscribing || sender.is_empty() || sender.eq_ignore_ascii_case(from)
}

async fn bounces_today(brevo: &Brevo, to: &str, limit: Duration) -> Result<usize, Cause> {
    let query = [
        ("email", to.to_owned()),
        ("event", "hardBounces".to_owned()),
        ("days", "1".to_owned()),
        ("limit", "10".to_owned()),
    ];
    let path = ["smtp", "statistics", "events"];
    let answer = brevo.ask_at_all(Method::GET, &path, &query, limit).await?;
    match answer.status {
        200..=299 => {}
        // So an address without events is answered.
        404 => return Ok(0),
        _ => return Err(brevo.refused(&answer)),
    }
    let events = answer.json::<Events>().and_then(|body| body.events);
    Ok(events.map_or(0, |events| events.len()))
}

async fn lift(brevo: &Brevo, to: &str, limit: Duration) -> Result<(), Cause> {
    let path = ["smtp", "blockedContacts", to];
    let answer = brevo.ask_at_all(Method::DELETE, &path, &[], limit).await?;
    match answer.status {
        // 404: somebody else lifted it in the meantime.
        200..=299 | 404 => Ok(()),
        _ => Err(brevo.refused(&answer)),
    }
}

impl Contact {
    fn code(&self) -> &str {
        self.reason
            .as_ref()
            .and_then(|reason| reason.code.as_deref())
            .unwrap_or_default()
    }
}

/// A block in words.
struct Block {
    is_liftable: bool,
    what: String,
    evidence: Vec<String>,
}

impl Block {
    fn of(contact: &Contact, to: &str, brevo: &Brevo) -> Self {
        let code = contact.code();
        let reason = contact
            .reason
            .as_ref()
            .and_then(|reason| reason.message.as_deref());
        let since = contact.blocked_at.as_deref().unwrap_or("an unknown time");
        let code = if code.is_empty() {
            "no reason given"
        } else {
            code
        };
        let said = format!(
            "blocked since {since}: {code} ({})",
            reason.unwrap_or("no words")
        );
        Self {
            is_liftable: code == "hardBounce" || code.starts_with("unsubscribed"),
            what: format!("{} has `{to}` on its block list ({code})", brevo.endpoint()),
            evidence: vec![crate::net::quotable(&said)],
        }
    }

    fn lifted(self) -> Warning {
        Warning {
            code: CauseCode::RecipientBlocked,
            summary: format!("{}; the block was lifted", self.what),
            hint: "real mail to this address through Brevo was dropped in silence: what did our server refuse for good, and why?".to_owned(),
            evidence: self.evidence,
        }
    }

    fn stays(self, hint: &str) -> Cause {
        let summary = format!("{}, and drops what is sent to it", self.what);
        let mut cause = Cause::new(CauseCode::RecipientBlocked, Stage::Send, summary, hint);
        cause.evidence = self.evidence;
        cause
    }
}

fn unknown(brevo: &Brevo, cause: Cause) -> Warning {
    Warning {
        summary: format!(
            "cannot tell whether {} blocks the recipient: {}",
            brevo.endpoint(),
            cause.summary
        ),
        ..cause.into_warning()
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}
