//! Deleting what is provably ours and finished, and nothing else.

use super::connect::remaining;
use super::session::{COMMAND_LIMIT, Fault, Session};
use super::trouble::{Step, Trouble};
use super::watcher::Folder;
use super::{Account, fetch, folders};
use crate::mailboxes::{CleanUp, Cleaned};
use crate::probe::compose::TOKEN_FIELD;
use crate::probe::message::{Ours, Recognition, recognise};
use crate::probe::report::LateArrival;
use crate::probe::verdict::{CauseCode, Warning};
use chrono::{DateTime, Days, TimeDelta, Utc};
use tokio::time::Instant;

/// A run may still be at work on its message until its deadline, and a moment longer.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(60);
/// So many messages are looked at in one clean-up: the newest.
const MOST_CANDIDATES: usize = 500;

/// How single messages can be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// `UID EXPUNGE` (RFC 4315).
    UidExpunge,
    /// `UID MOVE` (RFC 6851) to this folder.
    Move(String),
}

impl Way {
    /// The way that this server offers. A plain EXPUNGE is none: it deletes what others have marked.
    pub(super) fn of(session: &Session, trash: Option<&str>) -> Option<Self> {
        let to_trash = || {
            trash
                .filter(|_| session.can("MOVE"))
                .map(|name| Self::Move(name.to_owned()))
        };
        // On Gmail an expunge takes the label off and leaves the message in All Mail.
        if session.can("X-GM-EXT-1") {
            return to_trash();
        }
        if session.can("UIDPLUS") || session.can("IMAP4rev2") {
            return Some(Self::UidExpunge);
        }
        to_trash()
    }

    /// For `check`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::UidExpunge => "UID EXPUNGE",
            Self::Move(_) => "UID MOVE to trash",
        }
    }
}

/// A message of ours that may go.
struct Candidate {
    uid: u32,
    stored_at: Option<DateTime<Utc>>,
    ours: Ours,
}

/// Cleans one folder up. What goes wrong is a warning: the verdict stands.
pub(super) async fn clean(
    account: &Account,
    folder: &mut Folder,
    task: &CleanUp,
    trash: Option<&str>,
    end: Instant,
) -> Cleaned {
    match try_clean(account, folder, task, trash, end).await {
        Ok(cleaned) => cleaned,
        Err(trouble) => {
            let cause = trouble.cause(&account.plan);
            let seen_here = task
                .seen
                .as_ref()
                .is_some_and(|seen| seen.folder == folder.name);
            let mut cleaned = Cleaned::default();
            // A folder that holds nothing of this run is cleaned up by the next run as well.
            if seen_here {
                cleaned.warnings.push(Warning {
                    code: CauseCode::MessageNotDeleted,
                    summary: format!("the message was not deleted from `{}`: {}", folder.name, cause.summary),
                    hint: "a later run deletes it; if this comes up each time, see whether the server takes UID EXPUNGE".to_owned(),
                    evidence: cause.evidence,
                });
            }
            cleaned
        }
    }
}

/// What is said where clean-up could not begin.
pub(super) fn not_cleaned(reason: &str) -> Cleaned {
    Cleaned {
        warnings: vec![Warning {
            code: CauseCode::MessageNotDeleted,
            summary: format!("the mailbox was not cleaned up: {reason}"),
            hint: "a later run does it".to_owned(),
            evidence: Vec::new(),
        }],
        ..Cleaned::default()
    }
}

async fn try_clean(
    account: &Account,
    folder: &mut Folder,
    task: &CleanUp,
    trash: Option<&str>,
    end: Instant,
) -> Result<Cleaned, Trouble> {
    let name = folder.name.clone();
    let trouble = |fault: Fault| Trouble::of_command(Step::Handle(name.clone()), &fault);
    let mut session = usable_session(account, folder, end).await?;
    let limit = || remaining(end, COMMAND_LIMIT);
    let mut uids = left_behind(&mut session, task, end)
        .await
        .map_err(trouble)?;
    let seen = task.seen.as_ref().filter(|seen| seen.folder == name);
    if let Some(seen) = seen
        && !uids.contains(&seen.uid)
    {
        uids.push(seen.uid);
    }
    let mut candidates = Vec::new();
    if !uids.is_empty() {
        fetch::fields(&mut session, &fetch::set(&uids), limit(), |message| {
            if let Recognition::Ours(ours) = recognise(&message.fields, &task.keyring) {
                candidates.push(Candidate {
                    uid: message.uid,
                    stored_at: message.stored_at,
                    ours,
                });
            }
        })
        .await
        .map_err(trouble)?;
    }
    let mut cleaned = Cleaned::default();
    let unsafe_own = candidates
        .iter()
        .any(|one| one.ours.claims.token == task.token && !one.ours.deletable);
    if unsafe_own && !task.keep {
        cleaned.warnings.push(left(
            &name,
            "it does not carry both the token field and the exact Subject",
            "something on the way rewrites Subject or header fields: delete the message by hand",
        ));
    }
    candidates.retain(|one| may_go(one, task));
    let way = Way::of(&session, trash);
    let gone = match &way {
        Some(way) if !candidates.is_empty() => delete(&mut session, folder, &candidates, way, end)
            .await
            .map_err(trouble)?,
        _ => Vec::new(),
    };
    let own_left = candidates
        .iter()
        .any(|one| one.ours.claims.token == task.token && !gone.contains(&one.uid));
    if own_left {
        cleaned.warnings.push(match &way {
            Some(way) => left(
                &name,
                &format!("{} had no effect", way.name()),
                "does another client or a retention rule hold the message?",
            ),
            None => left(
                &name,
                "the server has neither UIDPLUS, nor MOVE and a trash folder",
                "have messages from the probe deleted by a rule of the server after a day",
            ),
        });
    }
    for candidate in candidates {
        account_for(&mut cleaned, &candidate, task, way.is_some(), &gone, &name);
    }
    folder.session = Some(session);
    Ok(cleaned)
}

/// The folder's session, or a new one where it was lost.
async fn usable_session(
    account: &Account,
    folder: &mut Folder,
    end: Instant,
) -> Result<Session, Trouble> {
    match folder.session.take() {
        Some(session) if !session.is_broken() => Ok(session),
        _ => {
            let mut session = account.log_in(end).await?;
            let limit = remaining(end, COMMAND_LIMIT);
            let step = Step::Handle(folder.name.clone());
            let opened = folders::examine(&mut session, &folder.name, limit)
                .await
                .map_err(|fault| Trouble::of_command(step.clone(), &fault))?;
            if opened.uid_validity != folder.uid_validity {
                return Err(Trouble::unreachable(step, "the folder was made anew"));
            }
            Ok(session)
        }
    }
}

/// Messages that may be ours, by the server's search: only what a fetch of their fields confirms counts.
async fn left_behind(
    session: &mut Session,
    task: &CleanUp,
    end: Instant,
) -> Result<Vec<u32>, Fault> {
    // Two days, since SINCE knows whole days only, in a time zone of the server's choice.
    let since = task.now.checked_sub_days(Days::new(2)).unwrap_or(task.now);
    let criteria = format!(
        "HEADER {TOKEN_FIELD} \"\" SINCE {}",
        since.format("%-d-%b-%Y")
    );
    match fetch::search(session, &criteria, remaining(end, COMMAND_LIMIT)).await {
        Ok(hits) => Ok(hits.into_iter().rev().take(MOST_CANDIDATES).collect()),
        // A server that cannot search so: our own message is known without it.
        Err(fault) if fault.leaves_session_usable() => Ok(Vec::new()),
        Err(fault) => Err(fault),
    }
}

fn may_go(candidate: &Candidate, task: &CleanUp) -> bool {
    let claims = &candidate.ours.claims;
    if !candidate.ours.deletable || claims.keep {
        return false;
    }
    if claims.token == task.token {
        return !task.keep;
    }
    claims.deadline + SETTLED_AFTER < task.now
}

/// Deletes, and says which messages are gone by looking: an OK alone proves nothing.
async fn delete(
    session: &mut Session,
    folder: &Folder,
    candidates: &[Candidate],
    way: &Way,
    end: Instant,
) -> Result<Vec<u32>, Fault> {
    let limit = || remaining(end, COMMAND_LIMIT);
    let uids: Vec<u32> = candidates.iter().map(|one| one.uid).collect();
    let set = fetch::set(&uids);
    let opened = folders::select(session, &folder.name, limit()).await?;
    if opened.uid_validity != folder.uid_validity {
        return Ok(Vec::new());
    }
    match way {
        Way::UidExpunge => {
            let mark = format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)");
            session.command(&mark, limit(), |_| ()).await?;
            let expunge = format!("UID EXPUNGE {set}");
            session.command(&expunge, limit(), |_| ()).await?;
        }
        Way::Move(trash) => {
            let command = format!("UID MOVE {set} {}", folders::quoted(trash));
            session.command(&command, limit(), |_| ()).await?;
        }
    }
    let still = fetch::present(session, &uids, limit()).await?;
    Ok(uids
        .into_iter()
        .filter(|uid| !still.contains(uid))
        .collect())
}

/// Counts one message of ours in the report of the run that deletes it.
fn account_for(
    cleaned: &mut Cleaned,
    candidate: &Candidate,
    task: &CleanUp,
    deletable_here: bool,
    gone: &[u32],
    folder: &str,
) {
    let claims = &candidate.ours.claims;
    let is_gone = gone.contains(&candidate.uid);
    if claims.token == task.token {
        cleaned.own += usize::from(is_gone);
        return;
    }
    let Some(stored_at) = candidate.stored_at.filter(|at| *at > claims.deadline) else {
        cleaned.left_over += usize::from(is_gone);
        return;
    };
    // Where nothing can be deleted every run would count it again: only the first after its arrival does.
    let counts = if deletable_here {
        is_gone
    } else {
        task.previous_fire.is_none_or(|fire| stored_at > fire)
    };
    if counts {
        let delay = stored_at.signed_duration_since(claims.sent_at);
        cleaned.late.push(LateArrival {
            run: claims.token.clone(),
            probe: claims.probe.clone(),
            sent_at: claims.sent_at,
            delivery_seconds: delay.as_seconds_f64(),
            folder: folder.to_owned(),
        });
    }
}

fn left(folder: &str, why: &str, hint: &str) -> Warning {
    Warning {
        code: CauseCode::MessageNotDeleted,
        summary: format!("the message was left in `{folder}`: {why}"),
        hint: hint.to_owned(),
        evidence: Vec::new(),
    }
}
