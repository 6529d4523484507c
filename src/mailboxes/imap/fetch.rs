//! Reading messages: always with PEEK, always in bounds.

use super::session::{Fault, Session};
use crate::probe::message::RECOGNITION_FIELDS;
use async_imap::imap_proto::{AttributeValue, MailboxDatum, Response};
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// Of the header fields that decide whether a message is ours, so much is read. Ours have a tenth of it.
const FIELDS_LIMIT: usize = 16 * 1024;
/// Of the message that arrived, so much is read.
const MESSAGE_LIMIT: usize = 64 * 1024;
/// Of what a search finds, so much is kept: twenty times what anybody looks at.
const MOST_HITS: usize = 10_000;

/// The header fields of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) uid: u32,
    /// INTERNALDATE: when the server stored it, to the second.
    pub(super) stored_at: Option<DateTime<Utc>>,
    /// The fields as they stand in the message.
    pub(super) fields: Vec<u8>,
}

/// The fields that decide whether a message is ours, of every message in `set`, each handed to `on` as it comes.
///
/// Of a message whose fields fill the whole limit none are handed on: what was cut off could say that it is not ours.
pub(super) async fn fields(
    session: &mut Session,
    set: &str,
    limit: Duration,
    mut on: impl FnMut(Fetched),
) -> Result<(), Fault> {
    let command = format!(
        "UID FETCH {set} (UID INTERNALDATE BODY.PEEK[HEADER.FIELDS ({})]<0.{FIELDS_LIMIT}>)",
        RECOGNITION_FIELDS.join(" ")
    );
    session
        .command(&command, limit, |response| {
            if let Response::Fetch(_, attributes) = response
                && let Some(mut message) = read(attributes)
            {
                if message.fields.len() >= FIELDS_LIMIT {
                    message.fields.clear();
                }
                on(message);
            }
        })
        .await
}

/// The message itself, cut off at 64 KiB, and when the server stored it. None where it is not there, or the server
/// tells of it more than once and not the same.
pub(super) async fn message(
    session: &mut Session,
    uid: u32,
    limit: Duration,
) -> Result<Option<Fetched>, Fault> {
    let command = format!("UID FETCH {uid} (UID INTERNALDATE BODY.PEEK[]<0.{MESSAGE_LIMIT}>)");
    let mut told: Option<Fetched> = None;
    let mut is_contradicted = false;
    session
        .command(&command, limit, |response| {
            if let Response::Fetch(_, attributes) = response
                && let Some(message) = read(attributes)
                && message.uid == uid
            {
                is_contradicted |= told.as_ref().is_some_and(|before| *before != message);
                told = Some(message);
            }
        })
        .await?;
    Ok(told.filter(|_| !is_contradicted))
}

/// Which of these messages are still there.
pub(super) async fn present(
    session: &mut Session,
    uids: &[u32],
    limit: Duration,
) -> Result<BTreeSet<u32>, Fault> {
    let command = format!("UID FETCH {} (UID)", set(uids));
    let mut found = BTreeSet::new();
    session
        .command(&command, limit, |response| {
            if let Response::Fetch(_, attributes) = response {
                for attribute in attributes {
                    if let AttributeValue::Uid(uid) = attribute
                        && uids.contains(uid)
                    {
                        found.insert(*uid);
                    }
                }
            }
        })
        .await?;
    Ok(found)
}

/// UID SEARCH, the newest hits. RETURN is never asked for: imap-proto cannot read its answer.
pub(super) async fn search(
    session: &mut Session,
    criteria: &str,
    limit: Duration,
) -> Result<BTreeSet<u32>, Fault> {
    let mut hits = BTreeSet::new();
    session
        .command(&format!("UID SEARCH {criteria}"), limit, |response| {
            if let Response::MailboxData(MailboxDatum::Search(uids)) = response {
                hits.extend(uids);
                while hits.len() > MOST_HITS {
                    hits.pop_first();
                }
            }
        })
        .await?;
    Ok(hits)
}

/// A sequence set (RFC 3501 section 9): `4,7,9`.
pub(super) fn set(uids: &[u32]) -> String {
    let mut set = String::new();
    for (index, uid) in uids.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(set, "{comma}{uid}");
    }
    set
}

fn read(attributes: &[AttributeValue<'_>]) -> Option<Fetched> {
    let mut uid = None;
    let mut stored_at = None;
    let mut fields = None;
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(value) => uid = Some(*value),
            AttributeValue::InternalDate(text) => stored_at = internal_date(text),
            AttributeValue::BodySection { data, .. } => {
                fields = Some(data.as_ref().map_or_else(Vec::new, |data| data.to_vec()));
            }
            _ => {}
        }
    }
    // An untagged FETCH that tells of flags, at any moment, has no fields.
    Some(Fetched {
        uid: uid?,
        stored_at,
        fields: fields?,
    })
}

/// `"23-Nov-2026 22:51:09 +0000"`, the day padded with a space (RFC 3501 section 9).
fn internal_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_str(text.trim(), "%d-%b-%Y %H:%M:%S %z")
        .ok()
        .map(|at| at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_dates_are_read_with_any_zone_and_a_padded_day() {
        for (text, expected) in [
            (
                "23-Nov-2026 22:51:09 +0000",
                Some("2026-11-23T22:51:09+00:00"),
            ),
            (
                " 3-Nov-2026 00:51:09 +0200",
                Some("2026-11-02T22:51:09+00:00"),
            ),
            ("03-Foo-2026 00:51:09 +0200", None),
            ("", None),
        ] {
            let read = internal_date(text).map(|at| at.to_rfc3339());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_set_lists_the_uids() {
        assert_eq!(set(&[4, 7, 9]), "4,7,9");
    }
}
