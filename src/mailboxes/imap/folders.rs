//! Which folders there are, and opening one to read.

use super::connect::remaining;
use super::session::{Fault, Session};
use super::trouble::{Step, Trouble};
use async_imap::imap_proto::{
    MailboxDatum, NameAttribute, Response, ResponseCode, StatusAttribute,
};
use std::time::Duration;
use tokio::time::Instant;

/// Names of junk folders where no SPECIAL-USE says which one it is, most usual first.
const JUNK_NAMES: &[&str] = &[
    "Junk",
    "Spam",
    "Junk E-mail",
    "Junk Email",
    "Bulk Mail",
    "Bulk",
];
/// The same for trash.
const TRASH_NAMES: &[&str] = &["Trash", "Deleted Items", "Deleted Messages", "Bin"];
/// More folders than this are not looked through.
const MOST_FOLDERS: usize = 10_000;
/// Longer names, in bytes of the wire, are passed over: no server keeps its folders in such.
const LONGEST_NAME: usize = 1000;

/// A folder as LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// As on the wire: modified UTF-7.
    pub(super) name: String,
    delimiter: Option<String>,
    is_junk: bool,
    is_trash: bool,
}

/// A folder that was opened, and how it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Opened {
    /// 0 where the server did not tell: then no number of a message can be relied on.
    pub(super) uid_validity: u32,
    /// The first UID that new mail can have.
    pub(super) uid_next: u32,
}

/// Every folder that can be opened.
pub(super) async fn list(session: &mut Session, limit: Duration) -> Result<Vec<Listed>, Trouble> {
    // RFC 6154 section 2: a plain LIST need not show the attributes.
    let command = if session.can("SPECIAL-USE") && session.can("LIST-EXTENDED") {
        r#"LIST "" "*" RETURN (SPECIAL-USE)"#
    } else {
        r#"LIST "" "*""#
    };
    let mut folders = Vec::new();
    session
        .command(command, limit, |response| {
            if let Response::MailboxData(MailboxDatum::List(data)) = response
                && folders.len() < MOST_FOLDERS
                && data.name.len() <= LONGEST_NAME
                && !data.name_attributes.contains(&NameAttribute::NoSelect)
                // No name has them (RFC 3501 section 5.1), and a terminal would obey them.
                && !data.name.chars().any(char::is_control)
            {
                folders.push(Listed {
                    name: data.name.to_string(),
                    delimiter: data.delimiter.as_ref().map(ToString::to_string),
                    is_junk: data.name_attributes.contains(&NameAttribute::Junk),
                    is_trash: data.name_attributes.contains(&NameAttribute::Trash),
                });
            }
        })
        .await
        .map_err(|fault| Trouble::of_command(Step::List, &fault))?;
    Ok(folders)
}

/// The junk folder: by SPECIAL-USE, else by common names.
pub(super) fn junk(folders: &[Listed]) -> Option<String> {
    let special = folders.iter().find(|folder| folder.is_junk);
    special
        .map(|folder| folder.name.clone())
        .or_else(|| by_name(folders, JUNK_NAMES))
}

/// The trash folder, likewise.
pub(super) fn trash(folders: &[Listed]) -> Option<String> {
    let special = folders.iter().find(|folder| folder.is_trash);
    special
        .map(|folder| folder.name.clone())
        .or_else(|| by_name(folders, TRASH_NAMES))
}

/// `Junk`, `INBOX.Junk`, `[Gmail]/Spam`: the last part of the name counts.
fn by_name(folders: &[Listed], names: &[&str]) -> Option<String> {
    let last = |folder: &Listed| match &folder.delimiter {
        Some(delimiter) if !delimiter.is_empty() => folder
            .name
            .rsplit(delimiter.as_str())
            .next()
            .map(ToOwned::to_owned)
            .unwrap_or_default(),
        _ => folder.name.clone(),
    };
    names.iter().find_map(|name| {
        let mut hits = folders
            .iter()
            .filter(|folder| last(folder).eq_ignore_ascii_case(name));
        // The one nearest to the root, where several are called so.
        let first = hits.next()?;
        Some(hits.fold(first, |best, one| {
            if one.name.len() < best.name.len() {
                one
            } else {
                best
            }
        }))
        .map(|folder| folder.name.clone())
    })
}

/// Opens a folder read-only.
pub(super) async fn examine(
    session: &mut Session,
    folder: &str,
    limit: Duration,
) -> Result<Opened, Fault> {
    open(session, "EXAMINE", folder, limit).await
}

/// Opens a folder to change it.
pub(super) async fn select(
    session: &mut Session,
    folder: &str,
    limit: Duration,
) -> Result<Opened, Fault> {
    open(session, "SELECT", folder, limit).await
}

async fn open(
    session: &mut Session,
    verb: &str,
    folder: &str,
    limit: Duration,
) -> Result<Opened, Fault> {
    let mut opened = Opened::default();
    let command = format!("{verb} {}", quoted(folder));
    session.forget_uid_validity();
    let end = Instant::now() + limit;
    session
        .command(&command, limit, |response| {
            if let Response::Data { outcome, .. } = response
                && let Some(ResponseCode::UidNext(uid)) = outcome.code
            {
                opened.uid_next = uid;
            }
        })
        .await?;
    opened.uid_validity = session.uid_validity();
    // The EXISTS of opening is no news.
    session.take_news();
    if opened.uid_next == 0 {
        // RFC 3501 lets a server leave it out of the answer to EXAMINE.
        let command = format!("STATUS {} (UIDNEXT)", quoted(folder));
        session
            .command(&command, remaining(end, limit), |response| {
                if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
                    for attribute in status {
                        if let StatusAttribute::UidNext(uid) = attribute {
                            opened.uid_next = *uid;
                        }
                    }
                }
            })
            .await?;
    }
    Ok(Opened {
        uid_next: opened.uid_next.max(1),
        ..opened
    })
}

/// A quoted string (RFC 3501 section 4.3).
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A folder's name as people write it, in the modified UTF-7 of the wire (RFC 3501 section 5.1.3).
pub(super) fn encoded(name: &str) -> String {
    let mut wire = String::new();
    let mut pending: Vec<u16> = Vec::new();
    let flush = |wire: &mut String, pending: &mut Vec<u16>| {
        if !pending.is_empty() {
            let bytes: Vec<u8> = pending.drain(..).flat_map(u16::to_be_bytes).collect();
            let base64 = data_encoding::BASE64_NOPAD.encode(&bytes);
            wire.push('&');
            wire.push_str(&base64.replace('/', ","));
            wire.push('-');
        }
    };
    for character in name.chars() {
        if (' '..='~').contains(&character) {
            flush(&mut wire, &mut pending);
            wire.push(character);
            if character == '&' {
                wire.push('-');
            }
        } else {
            pending.extend(character.encode_utf16(&mut [0; 2]).iter());
        }
    }
    flush(&mut wire, &mut pending);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> Vec<Listed> {
        names
            .iter()
            .map(|name| Listed {
                name: (*name).to_owned(),
                delimiter: Some(if name.contains('/') { "/" } else { "." }.to_owned()),
                is_junk: false,
                is_trash: false,
            })
            .collect()
    }

    #[tokio::test]
    async fn a_folder_whose_name_a_terminal_would_obey_is_not_listed() {
        use crate::mailboxes::imap::script::{Line, session};
        let answer = "* LIST () \"/\" INBOX\r\n* LIST (\\Junk) \"/\" \"Ju\u{1b}[31mnk\"\r\n{tag} OK done\r\n";
        let (mut session, _server) = session(vec![Line::On("LIST", answer)]).await;
        let Ok(folders) = list(&mut session, Duration::from_secs(5)).await else {
            panic!("the folders are listed");
        };
        let names: Vec<_> = folders.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["INBOX"]);
    }

    #[test]
    fn special_use_beats_a_common_name() {
        let mut folders = listed(&["INBOX", "Junk", "Unwanted"]);
        folders[2].is_junk = true;
        assert_eq!(junk(&folders).as_deref(), Some("Unwanted"));
    }

    #[test]
    fn common_names_are_found_below_inbox_and_below_gmail() {
        assert_eq!(
            junk(&listed(&["INBOX", "INBOX.spam"])).as_deref(),
            Some("INBOX.spam")
        );
        assert_eq!(
            junk(&listed(&["INBOX", "[Gmail]/Spam"])).as_deref(),
            Some("[Gmail]/Spam")
        );
        assert_eq!(
            trash(&listed(&["A.Trash", "Trash"])).as_deref(),
            Some("Trash")
        );
        assert_eq!(junk(&listed(&["INBOX", "Spambot reports"])), None);
    }

    #[test]
    fn names_are_quoted_and_encoded_for_the_wire() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(encoded("Junk E-mail"), "Junk E-mail");
        assert_eq!(encoded("R&D"), "R&-D");
        // RFC 3501 section 5.1.3 gives this one.
        assert_eq!(
            encoded("~peter/mail/台北/日本語"),
            "~peter/mail/&U,BTFw-/&ZeVnLIqe-"
        );
        assert_eq!(encoded("Entwürfe"), "Entw&APw-rfe");
    }
}
