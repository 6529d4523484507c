//! Where a message is now: every watched folder, junk and trash, searched on a connection of its own and read-only.

use super::connect::remaining;
use super::session::{COMMAND_LIMIT, Fault, Session};
use super::trouble::{Step, Trouble};
use super::{ImapMailbox, LOGOUT_LIMIT, fetch, folders};
use crate::mailboxes::OpenFailure;
use crate::probe::compose::TOKEN_FIELD;
use crate::probe::message::{Recognition, recognise};
use crate::probe::token::Keyring;
use crate::probe::whereabouts::{FolderKind, Place, Searched};
use std::time::Duration;
use tokio::time::Instant;

/// Of messages that carry the token so many are looked at, the newest.
const MOST_HITS: usize = 50;

impl ImapMailbox {
    /// See [`crate::mailboxes::Mailbox::find`].
    ///
    /// # Errors
    /// Whatever keeps the account from being read.
    pub async fn find(
        &self,
        token: &str,
        keyring: &Keyring,
        limit: Duration,
    ) -> Result<Searched, OpenFailure> {
        let searched = self
            .search_all(token, keyring, Instant::now() + limit)
            .await;
        searched.map_err(|trouble| self.account.failure(&trouble))
    }

    async fn search_all(
        &self,
        token: &str,
        keyring: &Keyring,
        end: Instant,
    ) -> Result<Searched, Trouble> {
        let mut session = self.account.log_in(end).await?;
        let existing = folders::list(&mut session, remaining(end, COMMAND_LIMIT)).await?;
        let mut wanted: Vec<_> = self
            .account
            .wanted(&existing)
            .into_iter()
            .map(|(name, is_junk)| {
                let kind = if is_junk {
                    FolderKind::Junk
                } else {
                    FolderKind::Expected
                };
                (name, kind)
            })
            .collect();
        if let Some(trash) = folders::trash(&existing)
            && !wanted.iter().any(|(name, _)| *name == trash)
        {
            wanted.push((trash, FolderKind::Trash));
        }
        let mut searched = Searched::default();
        for (folder, kind) in wanted {
            match search(&mut session, &folder, token, keyring, end).await {
                Ok(places) => {
                    searched.folders.push(folder);
                    searched
                        .places
                        .extend(places.into_iter().map(|place| Place { kind, ..place }));
                }
                Err(fault) => {
                    let usable = fault.leaves_session_usable();
                    let trouble = Trouble::of_command(Step::Open(folder), &fault);
                    if !usable {
                        return Err(trouble);
                    }
                    let cause = trouble.cause(&self.account.plan);
                    searched.unreadable.push(cause.summary);
                }
            }
        }
        session.logout(LOGOUT_LIMIT).await;
        Ok(searched)
    }
}

/// Every message in a folder that carries the token, by the server's search and then by our own look.
async fn search(
    session: &mut Session,
    folder: &str,
    token: &str,
    keyring: &Keyring,
    end: Instant,
) -> Result<Vec<Place>, Fault> {
    folders::examine(session, folder, remaining(end, COMMAND_LIMIT)).await?;
    // A verified token: letters, digits and hyphens.
    let criteria = format!("OR HEADER {TOKEN_FIELD} \"{token}\" SUBJECT \"{token}\"");
    let hits = fetch::search(session, &criteria, remaining(end, COMMAND_LIMIT)).await?;
    let uids: Vec<u32> = hits.into_iter().rev().take(MOST_HITS).collect();
    let mut places = Vec::new();
    if uids.is_empty() {
        return Ok(places);
    }
    let limit = remaining(end, COMMAND_LIMIT);
    fetch::fields(session, &fetch::set(&uids), limit, |message| {
        // What was not asked for, or is told twice, is nothing to go by.
        if !uids.contains(&message.uid) || places.iter().any(|one: &Place| one.uid == message.uid) {
            return;
        }
        let quotes = match recognise(&message.fields, keyring) {
            Recognition::Ours(ours) if ours.claims.token == token => None,
            Recognition::Quoted { token: one, reason } if one == token => Some(reason),
            _ => return,
        };
        places.push(Place {
            folder: folder.to_owned(),
            kind: FolderKind::Expected,
            uid: message.uid,
            stored_at: message.stored_at,
            quotes,
        });
    })
    .await?;
    Ok(places)
}
