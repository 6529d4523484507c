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
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;
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

/// A message of ours, as it was when its fields were read.
#[derive(Debug, Clone)]
struct Candidate {
    uid: u32,
    stored_at: Option<DateTime<Utc>>,
    ours: Ours,
    /// The folder's session in which its fields were read.
    session_number: u32,
}

/// Messages of ours that were come across while watching and are still in the folder: to delete those takes no search.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<u32, Candidate>);

impl Known {
    /// Takes note of a message of ours.
    pub(super) fn add(
        &mut self,
        uid: u32,
        stored_at: Option<DateTime<Utc>>,
        ours: Ours,
        session_number: u32,
    ) {
        let candidate = Candidate {
            uid,
            stored_at,
            ours,
            session_number,
        };
        self.0.insert(uid, candidate);
        if self.0.len() > MOST_CANDIDATES {
            self.0.pop_first();
        }
    }

    /// What has this number is not ours, or not any more.
    pub(super) fn forget(&mut self, uid: u32) {
        self.0.remove(&uid);
    }

    /// Where the message with this token is.
    pub(super) fn uid_of(&self, token: &str) -> Option<u32> {
        let mut all = self.0.values();
        let found = all.find(|one| one.ours.claims.token == token)?;
        Some(found.uid)
    }
}

/// Deletes in one folder, and remembers what it has to between clean-ups.
#[derive(Debug)]
pub(super) struct Cleaner {
    /// Where deleted messages go, on servers that cannot delete single ones.
    trash: Option<String>,
    /// What earlier runs left is searched for this often at the most.
    search_every: Duration,
    searched: Option<Instant>,
    /// The server searches as it has to for that.
    can_search: bool,
    /// Late arrivals that stay in the folder and were counted.
    counted: BTreeSet<String>,
}

impl Cleaner {
    pub(super) fn new(trash: Option<String>, search_every: Duration) -> Self {
        Self {
            trash,
            search_every,
            searched: None,
            can_search: true,
            counted: BTreeSet::new(),
        }
    }

    fn is_search_due(&self) -> bool {
        self.searched
            .is_none_or(|last| last.elapsed() >= self.search_every)
    }

    /// Whether there is anything to do in this folder.
    pub(super) fn has_work(&self, known: &Known, tasks: &[CleanUp], folder: &str) -> bool {
        let was_here =
            |task: &CleanUp| task.seen.as_ref().is_some_and(|seen| seen.folder == folder);
        self.is_search_due() || !known.0.is_empty() || tasks.iter().any(was_here)
    }

    /// Cleans one folder up for several runs at once: what each of them did, in their order.
    pub(super) async fn clean(
        &mut self,
        folder: &mut Folder,
        known: &mut Known,
        tasks: &[CleanUp],
        end: Instant,
    ) -> Result<Vec<Cleaned>, Trouble> {
        let name = folder.name.clone();
        let trouble = |fault: Fault| Trouble::of_command(Step::Handle(name.clone()), &fault);
        let candidates = self
            .candidates(folder, known, tasks, end)
            .await
            .map_err(trouble)?;
        let begun = Cleaned {
            is_thorough: self.can_search,
            ..Cleaned::default()
        };
        let mut cleaned = vec![begun; tasks.len()];
        for (task, cleaned) in tasks.iter().zip(&mut cleaned) {
            let is_unsafe = |one: &Candidate| task.owns(one) && !one.ours.deletable;
            if candidates.iter().any(is_unsafe) && !task.keep {
                cleaned.warnings.push(left(
                    &name,
                    "it does not carry both the token field and the exact Subject",
                    "something on the way rewrites Subject or header fields: delete the message by hand",
                ));
            }
        }
        let candidates: Vec<Candidate> = candidates
            .into_iter()
            .filter(|one| may_go(one, tasks))
            .collect();
        let way = folder
            .session
            .as_ref()
            .and_then(|session| Way::of(session, self.trash.as_deref()));
        let gone = match &way {
            Some(way) if !candidates.is_empty() => delete(folder, &candidates, way, end)
                .await
                .map_err(trouble)?,
            _ => Vec::new(),
        };
        for (task, cleaned) in tasks.iter().zip(&mut cleaned) {
            let is_left = |one: &Candidate| task.owns(one) && !gone.contains(&one.uid);
            if candidates.iter().any(is_left) {
                cleaned.warnings.push(not_gone(&name, way.as_ref()));
            }
        }
        for candidate in &candidates {
            let owner = tasks.iter().position(|task| task.owns(candidate));
            // What is nobody's any more is told by whoever cleans up first.
            if let Some(cleaned) = cleaned.get_mut(owner.unwrap_or(0))
                && let Some(task) = tasks.get(owner.unwrap_or(0))
            {
                self.account_for(cleaned, candidate, task, way.is_some(), &gone, &name);
            }
        }
        // Done with, one way or the other: what is still there a later search finds.
        known
            .0
            .retain(|uid, one| !gone.contains(uid) && !tasks.iter().any(|task| task.owns(one)));
        Ok(cleaned)
    }

    /// Messages of ours in the folder that this clean-up is about.
    async fn candidates(
        &mut self,
        folder: &mut Folder,
        known: &mut Known,
        tasks: &[CleanUp],
        end: Instant,
    ) -> Result<Vec<Candidate>, Fault> {
        let mut own = Vec::new();
        // What lay there for a while may be gone, by the hand of another, and a server that was away may be another one:
        // it is read again.
        let mut to_read = BTreeSet::new();
        for (uid, one) in &known.0 {
            let is_own = tasks.iter().any(|task| task.owns(one));
            if is_own && one.session_number == folder.session_number {
                own.push(one.clone());
            } else if is_own || may_go(one, tasks) {
                to_read.insert(*uid);
            }
        }
        let (Some(newest), Some(session)) = (tasks.last(), folder.session.as_mut()) else {
            return Ok(own);
        };
        if self.is_search_due() {
            let found = left_behind(session, newest, end).await?;
            self.can_search = found.is_some();
            to_read.extend(found.unwrap_or_default());
            self.searched = Some(Instant::now());
        }
        to_read.retain(|uid| !own.iter().any(|one| one.uid == *uid));
        if to_read.is_empty() {
            return Ok(own);
        }
        let uids: Vec<u32> = to_read.into_iter().collect();
        let number = folder.session_number;
        let read = read_again(session, &uids, tasks, number, end).await?;
        let mut found = own;
        found.extend(read);
        // What was not among them is gone.
        known
            .0
            .retain(|uid, _| !uids.contains(uid) || found.iter().any(|one| one.uid == *uid));
        Ok(found)
    }

    /// Counts one message of ours in the report of the run that deletes it.
    fn account_for(
        &mut self,
        cleaned: &mut Cleaned,
        candidate: &Candidate,
        task: &CleanUp,
        deletable_here: bool,
        gone: &[u32],
        folder: &str,
    ) {
        let claims = &candidate.ours.claims;
        let is_gone = gone.contains(&candidate.uid);
        if task.owns(candidate) {
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
                && self.counted.insert(claims.token.clone())
        };
        while self.counted.len() > MOST_CANDIDATES {
            self.counted.pop_first();
        }
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
}

impl CleanUp {
    fn owns(&self, candidate: &Candidate) -> bool {
        candidate.ours.claims.token == self.token
    }
}

/// Those of these messages whose fields say that they are ours. A server that tells of others beside them, or of one
/// in two ways, tells nothing by that.
async fn read_again(
    session: &mut Session,
    uids: &[u32],
    tasks: &[CleanUp],
    session_number: u32,
    end: Instant,
) -> Result<Vec<Candidate>, Fault> {
    let mut told: BTreeMap<u32, Option<Candidate>> = BTreeMap::new();
    let (set, limit) = (fetch::set(uids), remaining(end, COMMAND_LIMIT));
    fetch::fields(session, &set, limit, |message| {
        if !uids.contains(&message.uid) {
            return;
        }
        let ours = recognise_for(tasks, &message.fields).map(|ours| Candidate {
            uid: message.uid,
            stored_at: message.stored_at,
            ours,
            session_number,
        });
        let token = |one: &Option<Candidate>| {
            let claims = one.as_ref().map(|one| &one.ours.claims);
            claims.map(|claims| claims.token.clone())
        };
        match told.entry(message.uid) {
            Entry::Vacant(place) => {
                place.insert(ours);
            }
            Entry::Occupied(mut before) if token(before.get()) != token(&ours) => {
                before.insert(None);
            }
            Entry::Occupied(_) => {}
        }
    })
    .await?;
    Ok(told.into_values().flatten().collect())
}

/// By the newest keys; a run from before a reload waits with older ones.
fn recognise_for(tasks: &[CleanUp], fields: &[u8]) -> Option<Ours> {
    tasks
        .iter()
        .rev()
        .find_map(|task| match recognise(fields, &task.keyring) {
            Recognition::Ours(ours) => Some(ours),
            _ => None,
        })
}

/// What is said of every run where a folder could not be cleaned up: the verdict stands.
pub(super) fn not_deleted(
    account: &Account,
    folder: &Folder,
    tasks: &[CleanUp],
    trouble: &Trouble,
) -> Vec<Cleaned> {
    let cause = trouble.cause(&account.plan);
    tasks
        .iter()
        .map(|task| {
            let mut cleaned = Cleaned::default();
            // A folder that holds nothing of this run is cleaned up by the next run as well.
            if task.seen.as_ref().is_some_and(|seen| seen.folder == folder.name) {
                cleaned.warnings.push(Warning {
                    code: CauseCode::MessageNotDeleted,
                    summary: format!("the message was not deleted from `{}`: {}", folder.name, cause.summary),
                    hint: "a later run deletes it; if this comes up each time, see whether the server takes UID EXPUNGE".to_owned(),
                    evidence: cause.evidence.clone(),
                });
            }
            cleaned
        })
        .collect()
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

/// Messages that may be ours, by the server's search: only what a fetch of their fields confirms counts. None where
/// the server does not search so: our own message is known without it.
async fn left_behind(
    session: &mut Session,
    task: &CleanUp,
    end: Instant,
) -> Result<Option<Vec<u32>>, Fault> {
    // Two days, since SINCE knows whole days only, in a time zone of the server's choice.
    let since = task.now.checked_sub_days(Days::new(2)).unwrap_or(task.now);
    let criteria = format!(
        "HEADER {TOKEN_FIELD} \"\" SINCE {}",
        since.format("%-d-%b-%Y")
    );
    match fetch::search(session, &criteria, remaining(end, COMMAND_LIMIT)).await {
        Ok(hits) => Ok(Some(hits.into_iter().rev().take(MOST_CANDIDATES).collect())),
        Err(fault) if fault.leaves_session_usable() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn may_go(candidate: &Candidate, tasks: &[CleanUp]) -> bool {
    let claims = &candidate.ours.claims;
    if !candidate.ours.deletable || claims.keep {
        return false;
    }
    if let Some(owner) = tasks.iter().find(|task| task.owns(candidate)) {
        return !owner.keep;
    }
    tasks
        .iter()
        .any(|task| claims.deadline + SETTLED_AFTER < task.now)
}

/// Deletes, and says which messages are gone by looking: an OK alone proves nothing. The folder is read-only again
/// afterwards, for the runs that wait in it.
async fn delete(
    folder: &mut Folder,
    candidates: &[Candidate],
    way: &Way,
    end: Instant,
) -> Result<Vec<u32>, Fault> {
    let limit = || remaining(end, COMMAND_LIMIT);
    let uids: Vec<u32> = candidates.iter().map(|one| one.uid).collect();
    let Some(session) = &mut folder.session else {
        return Ok(Vec::new());
    };
    folders::select(session, &folder.name, limit()).await?;
    let outcome = take_away(session, &uids, folder.uid_validity, way, end).await;
    if !session.is_broken() {
        folders::examine(session, &folder.name, limit()).await?;
    }
    outcome
}

/// Deletes from the folder that is selected, as long as its UIDVALIDITY is this; which messages are gone.
async fn take_away(
    session: &mut Session,
    uids: &[u32],
    uid_validity: u32,
    way: &Way,
    end: Instant,
) -> Result<Vec<u32>, Fault> {
    let limit = || remaining(end, COMMAND_LIMIT);
    let set = fetch::set(uids);
    let commands = match way {
        Way::UidExpunge => vec![
            format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"),
            format!("UID EXPUNGE {set}"),
        ],
        Way::Move(trash) => vec![format!("UID MOVE {set} {}", folders::quoted(trash))],
    };
    for command in commands {
        // Before each: any answer may say that the numbers mean other messages by now (RFC 3501 section 2.3.1.1).
        let now = session.uid_validity();
        if uid_validity == 0 || now != uid_validity {
            let reason = format!(
                "the numbers of messages are not reliable (UIDVALIDITY was {uid_validity} and is {now})"
            );
            return Err(Fault::No { reply: reason });
        }
        session.command(&command, limit(), |_| ()).await?;
    }
    let still = fetch::present(session, uids, limit()).await?;
    Ok(uids
        .iter()
        .copied()
        .filter(|uid| !still.contains(uid))
        .collect())
}

/// Deletes one message, the only way that concerns no other, from the folder that is selected; whether it is gone.
pub(super) async fn expunge(
    session: &mut Session,
    uid: u32,
    uid_validity: u32,
    end: Instant,
) -> Result<bool, Fault> {
    let gone = take_away(session, &[uid], uid_validity, &Way::UidExpunge, end).await?;
    Ok(gone.contains(&uid))
}

fn not_gone(folder: &str, way: Option<&Way>) -> Warning {
    match way {
        Some(way) => left(
            folder,
            &format!("{} had no effect", way.name()),
            "does another client or a retention rule hold the message?",
        ),
        None => left(
            folder,
            "the server has neither UIDPLUS, nor MOVE and a trash folder",
            "have messages from the probe deleted by a rule of the server after a day",
        ),
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
