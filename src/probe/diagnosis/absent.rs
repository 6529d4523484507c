//! Why a message is not there: what the provider, the sender and the mailbox say.

use super::{Evidence, Handover, Way};
use crate::probe::provider::{Event, Kind, Reply, Word};
use crate::probe::verdict::{Cause, CauseCode, Stage};
use std::fmt::Write;

/// Why the sender has no message, if it has none.
pub(super) fn not_taken(evidence: &Evidence) -> Option<Cause> {
    let mut cause = match &evidence.handover {
        Handover::Taken(_) => return None,
        // Its log has the message, so it took it, whatever became of the answer.
        Handover::Unknown(_) if evidence.provider.decisive().is_some() => return None,
        Handover::Unknown(failure) => {
            let mut cause = failure.cause.clone();
            // Where the mailbox could not be read, that is the cause.
            let _ = write!(
                cause.summary,
                "; whether the message was taken is unknown, and it is not in {}",
                folders(evidence)
            );
            cause.evidence.push("the message did not arrive".to_owned());
            match &evidence.provider {
                Word::Events(_) => cause.evidence.push(format!(
                    "the event log of {} does not know the message",
                    evidence.sender
                )),
                Word::Unavailable(why) => cause.evidence.push(why.summary.clone()),
                Word::None => {}
            }
            cause
        }
        Handover::Refused(failure) => failure.cause.clone(),
        Handover::NotBegun | Handover::UnderWay => Cause::new(
            CauseCode::Unknown,
            Stage::Send,
            "there was no time to hand the message over",
            "raise `timeout` of the probe",
        ),
    };
    cause.evidence.extend(evidence.deferral.clone());
    Some(cause)
}

/// Why a message that was taken is not there, most likely first; never empty.
pub(super) fn causes(evidence: &Evidence) -> Vec<Cause> {
    let mut causes = Vec::new();
    let decisive = evidence.provider.decisive();
    let full = over_quota(evidence);
    let full_first = full.is_some() && explains_itself_by_quota(decisive);
    let from_provider = decisive
        .map(|event| from_event(event, evidence))
        .or_else(|| taken_inside(evidence));
    if full_first {
        causes.extend(full);
        causes.extend(from_provider);
    } else {
        // A block that stays explains a message of which nothing more is heard.
        let silent = decisive.is_none_or(|event| event.kind == Kind::Accepted);
        causes.extend(evidence.blocked.clone().filter(|_| silent));
        causes.extend(from_provider);
        causes.extend(full);
    }
    if causes.is_empty() {
        causes.push(unexplained(evidence));
    }
    if let Some(first) = causes.first_mut() {
        add_handles(first, evidence);
    }
    causes
}

/// Whether a full mailbox is what the decisive event speaks of, or could be.
fn explains_itself_by_quota(decisive: Option<&Event>) -> bool {
    let Some(event) = decisive else {
        return true;
    };
    match event.kind {
        Kind::Other | Kind::Accepted | Kind::Delivered => true,
        _ => {
            let reason = event.reason.as_deref().unwrap_or_default();
            Reply::find(reason).and_then(Reply::detail) == Some((2, 2))
        }
    }
}

fn over_quota(evidence: &Evidence) -> Option<Cause> {
    let full: Vec<_> = evidence
        .mailbox
        .quota
        .iter()
        .filter(|quota| quota.is_full())
        .collect();
    let first = full.first()?;
    let mut cause = Cause::new(
        CauseCode::MailboxOverQuota,
        Stage::Await,
        format!(
            "the mailbox behind `{}` is full, and takes no more mail: {}",
            evidence.to,
            first.quote()
        ),
        "delete mail, or raise the mailbox's quota; what was refused for good meanwhile does not come again",
    );
    cause.evidence = full.iter().map(|quota| quota.quote()).collect();
    Some(cause)
}

fn from_event(event: &Event, evidence: &Evidence) -> Cause {
    let Evidence { sender, to, .. } = evidence;
    let said = event.reason.as_deref().unwrap_or("no reason given");
    let remedy = || remedy(said).to_owned();
    let (code, summary, hint) = match event.kind {
        Kind::Error => (
            CauseCode::SenderRejectedMessage,
            format!("{sender} took the message for `{to}` and then refused it: {said}"),
            "is `from` a verified sender there, and its domain authenticated?".to_owned(),
        ),
        Kind::Blocked => (
            CauseCode::RecipientBlocked,
            format!("{sender} took the message for `{to}` and dropped it, since the recipient is on its block list: {said}"),
            format!("find what our server refused for good, mend it, then unblock `{to}` at the provider; `unblock_recipient = true` lifts blocks that bounces made"),
        ),
        Kind::HardBounce => (
            CauseCode::HardBounced,
            format!("the receiving server refused the message for `{to}` for good: {said}"),
            format!("{}; {sender} may block `{to}` from now on", remedy()),
        ),
        Kind::Invalid => (
            CauseCode::HardBounced,
            format!("{sender} holds the address `{to}` for invalid: {said}"),
            "is `to` spelt right, and does its domain have an MX record?".to_owned(),
        ),
        Kind::SoftBounce => (
            CauseCode::SoftBounced,
            format!("{sender} gave the message for `{to}` up after temporary refusals: {said}"),
            remedy(),
        ),
        Kind::Delivered => accepted_by_mx(event, evidence),
        Kind::Deferred => {
            let who = if Reply::find(said).is_some() {
                format!("the receiving server puts the message for `{to}` off")
            } else {
                format!("{sender} cannot hand the message for `{to}` to the receiving server")
            };
            (CauseCode::Deferred, format!("{who}: {said}"), remedy())
        }
        Kind::Accepted | Kind::Other => (
            CauseCode::HeldAtProvider,
            format!(
                "{sender} has had the message for `{to}` for {:.0} s and has not tried to deliver it, as far as its event log tells",
                evidence.waited().as_secs_f64()
            ),
            "see the provider's status page, and whether the account is suspended or its queue is held; a delivery may show in the log a minute late".to_owned(),
        ),
    };
    let mut cause = Cause::new(code, Stage::Await, summary, hint);
    cause.evidence.push(event.quote());
    // What was said before the end came often tells more than the end.
    if let Some(deferral) = evidence.provider.last_deferral()
        && deferral != event
    {
        cause.evidence.push(deferral.quote());
    }
    cause
}

/// Our own server took the message, and there is nobody else whose word could be had.
fn taken_inside(evidence: &Evidence) -> Option<Cause> {
    let Handover::Taken(acceptance) = &evidence.handover else {
        return None;
    };
    if evidence.way != Way::Inside {
        return None;
    }
    let known_as = acceptance
        .queue_id
        .as_ref()
        .map(|id| format!(" as {id}"))
        .unwrap_or_default();
    let search = acceptance.queue_id.as_deref().unwrap_or("the message id");
    Some(Cause::new(
        CauseCode::AcceptedByMxNotInMailbox,
        Stage::Await,
        format!(
            "{} took the message for `{}`{known_as}, and it is not in {} after {:.0} s",
            evidence.sender,
            evidence.to,
            folders(evidence),
            evidence.waited().as_secs_f64()
        ),
        format!(
            "search the mail server's log for {search}: a queue that does not move, a filter (Sieve discard, another folder), an alias or a forward"
        ),
    ))
}

fn accepted_by_mx(event: &Event, evidence: &Evidence) -> (CauseCode, String, String) {
    let Evidence { to, .. } = evidence;
    let known_as = match event.queue_id() {
        Some(id) => format!(" as {id}"),
        None => String::new(),
    };
    let search = match event.queue_id() {
        Some(id) => format!("search the mail server's log for {id}"),
        None => {
            "search the mail server's log for the message id, at the time of the event".to_owned()
        }
    };
    (
        CauseCode::AcceptedByMxNotInMailbox,
        format!(
            "the receiving server took the message for `{to}`{known_as}, and it is not in {}",
            folders(evidence)
        ),
        format!(
            "{search}: a filter (Sieve discard, another folder), an alias or a forward behind it, or a queue that does not move"
        ),
    )
}

/// What is said where nothing explains the absence.
pub(super) fn unexplained(evidence: &Evidence) -> Cause {
    let named = evidence
        .message_id()
        .map(|id| format!(" as {id}"))
        .unwrap_or_default();
    Cause::new(
        CauseCode::Unknown,
        Stage::Await,
        format!(
            "{} took the message for `{}`{named}, and it is not in {} after {:.0} s",
            evidence.sender,
            evidence.to,
            folders(evidence),
            evidence.waited().as_secs_f64()
        ),
        "search the mail server's log, and the provider's event log, for the token or the message id",
    )
}

/// What an operator can search logs by, and what else was noticed.
fn add_handles(cause: &mut Cause, evidence: &Evidence) {
    let mut more = Vec::new();
    if let Some(id) = evidence.message_id() {
        more.push(format!("message id: {id}"));
    }
    if let Handover::Taken(acceptance) = &evidence.handover
        && let Some(id) = &acceptance.queue_id
    {
        more.push(format!("queue id: {id}"));
    }
    match &evidence.provider {
        Word::Events(events) if events.is_empty() => more.push(format!(
            "the event log of {} does not know the message, or not yet",
            evidence.sender
        )),
        Word::Unavailable(why) => more.push(why.summary.clone()),
        Word::Events(_) | Word::None => {}
    }
    more.extend(evidence.quotes.iter().cloned());
    more.extend(evidence.mailbox.gaps.iter().map(super::Gap::quote));
    for late in &evidence.late_arrivals {
        more.push(format!(
            "mail is slow: {} of an earlier run came after {:.0} s",
            late.run, late.delivery_seconds
        ));
    }
    more.retain(|one| !cause.evidence.contains(one));
    cause.evidence.extend(more);
}

fn folders(evidence: &Evidence) -> String {
    if evidence.mailbox.looked.is_empty() {
        return "the mailbox".to_owned();
    }
    let names: Vec<_> = evidence
        .mailbox
        .looked
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    names.join(", ")
}

/// What to do about a refusal, by the receiving server's own words.
fn remedy(said: &str) -> &'static str {
    let text = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let Some(reply) = Reply::find(said) else {
        return "is port 25 of the MX open to the internet: is the server up, does the firewall or the load balancer pass it on, and does the MX record name it?";
    };
    match (reply.code, reply.detail()) {
        (_, Some((2, 2))) => "the mailbox is full: delete mail, or raise its quota",
        (452 | 552, Some((3, 1))) => {
            "the mail server's disk is full: free room on the volume of its queue and mail"
        }
        _ if says(&["storage", "disk full", "no space"]) => {
            "the mail server's disk is full: free room on the volume of its queue and mail"
        }
        _ if says(&["greylist", "graylist", "grey list"]) => {
            "the receiving server greylists: let the provider's servers pass, or wait for the retry"
        }
        (421, _) => {
            "the mail server turns connections away: too many of them, or a PROXY header that is missing on its port; see its log"
        }
        (450 | 451, Some((3 | 7, _)) | None) => {
            "something that the mail server asks before it takes mail does not answer (a milter, a policy service, a map): see the warnings in its log at that time"
        }
        (550..=559, Some((1, _))) => {
            "the mail server does not know the recipient: is the mailbox or the alias gone, or its map not loaded?"
        }
        (550..=559, Some((7, _))) => {
            "the mail server's rules refuse the message: see its log for the rule (spam filter, DMARC, block list)"
        }
        _ => "search the mail server's log for this reply, at the time of the event",
    }
}
