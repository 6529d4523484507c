//! Where one message is now, in a sentence.

use super::diagnosis::{self, Evidence, Handover};
use super::provider::{Kind, Word};
use super::report::{optional_timestamp, rfc3339};
use super::run::Limits;
use super::send::Acceptance;
use super::token::Claims;
use super::verdict::Cause;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;

/// What a folder is to the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FolderKind {
    /// Where the message should arrive.
    Expected,
    /// Where spam is filed.
    Junk,
    /// Where deleted messages go.
    Trash,
}

/// A message that carries the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Where it is.
    pub folder: String,
    /// What that folder is.
    pub kind: FolderKind,
    /// Its UID there.
    pub uid: u32,
    /// INTERNALDATE: when the server stored it, to the second.
    #[serde(serialize_with = "optional_timestamp")]
    pub stored_at: Option<DateTime<Utc>>,
    /// Why it is not the message itself; null where it is.
    pub quotes: Option<&'static str>,
}

/// What the mailbox says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Searched {
    /// The folders that were searched.
    pub folders: Vec<String>,
    /// Every message in them that carries the token.
    pub places: Vec<Place>,
    /// Folders that could not be searched, and why.
    pub unreadable: Vec<String>,
}

/// What is known of one message.
#[derive(Debug, Clone)]
pub struct Whereabouts {
    /// What its token says.
    pub claims: Claims,
    /// The recipient.
    pub to: String,
    /// Who took it, with its address.
    pub sender: String,
    /// What the mailbox says, or why it says nothing.
    pub mailbox: Result<Searched, Cause>,
    /// What the provider says.
    pub provider: Word,
    /// The time of day.
    pub now: DateTime<Utc>,
}

/// Where the message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// One sentence. Lower case, no full stop.
    pub sentence: String,
    /// What to do, where there is something to do.
    pub hint: Option<String>,
    /// It is where it should be.
    pub is_in_order: bool,
}

impl Whereabouts {
    /// Where the message is, in a sentence.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match &self.mailbox {
            Ok(searched) => self.searched(searched),
            Err(cause) => Finding {
                sentence: format!("the mailbox cannot be searched: {}", cause.summary),
                hint: Some(cause.hint.clone()),
                is_in_order: false,
            },
        }
    }

    fn searched(&self, searched: &Searched) -> Finding {
        let itself = searched.places.iter().filter(|one| one.quotes.is_none());
        let Some(place) = itself.min_by_key(|one| one.kind as u8) else {
            return self.absent(searched);
        };
        let stored = place.stored_at.map_or_else(String::new, |at| {
            let took = at.signed_duration_since(self.claims.sent_at);
            let late = if at > self.claims.deadline {
                ", after its run had given up"
            } else {
                ""
            };
            format!(
                ", stored at {}, {} s after it was sent{late}",
                rfc3339(at),
                took.num_seconds().max(0)
            )
        });
        let hint = match place.kind {
            FolderKind::Expected => None,
            FolderKind::Junk => Some(
                "the spam filter or a rule filed it there: `mailprobe inspect` on the message tells why".to_owned(),
            ),
            FolderKind::Trash => Some(
                "somebody or a rule deleted it: on servers that cannot delete single messages, mailprobe itself did".to_owned(),
            ),
        };
        Finding {
            sentence: format!("the message is in `{}`{stored}", place.folder),
            is_in_order: hint.is_none(),
            hint,
        }
    }

    fn absent(&self, searched: &Searched) -> Finding {
        let folders: Vec<_> = searched
            .folders
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let folders = folders.join(", ");
        if !searched.unreadable.is_empty() {
            return Finding {
                sentence: format!(
                    "the message is not in {folders}, and not every folder could be searched: {}",
                    searched.unreadable.join("; ")
                ),
                hint: Some("ask again, or see whether the account may read the folder".to_owned()),
                is_in_order: false,
            };
        }
        if self
            .provider
            .decisive()
            .is_none_or(|event| event.kind == Kind::Delivered)
        {
            let taken = match self.provider.decisive() {
                Some(event) => format!("the provider says {}", event.quote()),
                None => "nothing more is known of it".to_owned(),
            };
            return Finding {
                sentence: format!("the message is not in {folders}; {taken}"),
                hint: Some(
                    "a run that sees its message deletes it: where its report says `delivered`, all is well; else search the mail server's log".to_owned(),
                ),
                is_in_order: false,
            };
        }
        let cause = diagnosis::so_far(&self.evidence(searched));
        Finding {
            sentence: cause.summary,
            hint: Some(cause.hint),
            is_in_order: false,
        }
    }

    /// The same evidence that a run would have.
    fn evidence(&self, searched: &Searched) -> Evidence {
        let waited = self.now.signed_duration_since(self.claims.sent_at);
        let waited = waited.to_std().unwrap_or(Duration::ZERO);
        let limits = Limits {
            late_after: waited,
            timeout: waited,
        };
        let mut evidence = Evidence::new(limits, waited);
        evidence.to.clone_from(&self.to);
        evidence.sender.clone_from(&self.sender);
        evidence.send_started = Some(Duration::ZERO);
        evidence.handover = Handover::Taken(Acceptance {
            message_id: None,
            queue_id: None,
            status: 0,
        });
        evidence.provider = self.provider.clone();
        evidence.mailbox.looked.clone_from(&searched.folders);
        evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::provider::Event;
    use crate::probe::verdict::{CauseCode, Stage};
    use chrono::TimeDelta;

    fn sent_at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    fn whereabouts(places: Vec<Place>, events: &[(Kind, &str)]) -> Whereabouts {
        Whereabouts {
            claims: Claims {
                token: "e2e-probe-x".to_owned(),
                probe: "external".to_owned(),
                sent_at: sent_at(),
                deadline: sent_at() + TimeDelta::seconds(900),
                keep: false,
            },
            to: "smoke@example.org".to_owned(),
            sender: "brevo `https://x`".to_owned(),
            mailbox: Ok(Searched {
                folders: vec!["INBOX".to_owned(), "Junk".to_owned(), "Trash".to_owned()],
                places,
                unreadable: Vec::new(),
            }),
            provider: Word::Events(
                events
                    .iter()
                    .map(|(kind, reason)| Event {
                        at: Some(sent_at()),
                        kind: *kind,
                        message_id: None,
                        reason: Some((*reason).to_owned()),
                    })
                    .collect(),
            ),
            now: sent_at() + TimeDelta::seconds(1000),
        }
    }

    fn place(folder: &str, kind: FolderKind, after: i64) -> Place {
        Place {
            folder: folder.to_owned(),
            kind,
            uid: 7,
            stored_at: Some(sent_at() + TimeDelta::seconds(after)),
            quotes: None,
        }
    }

    #[test]
    fn one_sentence_says_where_the_message_is() {
        let inbox = || place("INBOX", FolderKind::Expected, 2);
        let quote = Place {
            quotes: Some("it is a reply"),
            ..inbox()
        };
        let late = place("INBOX", FolderKind::Expected, 950);
        let junk = place("Junk", FolderKind::Junk, 2);
        let trash = place("Trash", FolderKind::Trash, 2);
        for (places, events, is_in_order, words) in [
            (
                vec![inbox()],
                vec![],
                true,
                "is in `INBOX`, stored at 2026-11-18T",
            ),
            (
                vec![late],
                vec![],
                true,
                "950 s after it was sent, after its run had given up",
            ),
            (vec![junk.clone()], vec![], false, "is in `Junk`"),
            (vec![trash], vec![], false, "is in `Trash`"),
            (vec![junk, inbox()], vec![], true, "is in `INBOX`"),
            (
                vec![quote],
                vec![],
                false,
                "is not in `INBOX`, `Junk`, `Trash`; nothing more is known",
            ),
            (
                vec![],
                vec![(Kind::Delivered, "250 queued as A1")],
                false,
                "the provider says delivered at 2026-11-18T",
            ),
            (
                vec![],
                vec![(Kind::Deferred, "452 4.3.1 full")],
                false,
                "puts the message for `smoke@example.org` off: 452 4.3.1 full",
            ),
            (
                vec![],
                vec![(Kind::Blocked, "blocked")],
                false,
                "on its block list",
            ),
        ] {
            let finding = whereabouts(places.clone(), &events).finding();
            assert_eq!(finding.is_in_order, is_in_order, "{places:?} {events:?}");
            assert!(
                finding.sentence.contains(words),
                "no {words:?} in {finding:?}"
            );
            assert_eq!(finding.hint.is_none(), is_in_order, "{finding:?}");
        }
    }

    #[test]
    fn a_mailbox_that_cannot_be_searched_hides_nothing() {
        let mut unknown = whereabouts(Vec::new(), &[]);
        unknown.mailbox = Err(Cause::new(
            CauseCode::MailboxLoginRefused,
            Stage::MailboxConnect,
            "cannot log in",
            "mend it",
        ));
        let finding = unknown.finding();
        assert!(finding.sentence.contains("cannot log in"), "{finding:?}");
        assert!(!finding.is_in_order);
        let mut partly = whereabouts(Vec::new(), &[]);
        if let Ok(searched) = &mut partly.mailbox {
            searched
                .unreadable
                .push("cannot open folder `Trash`".to_owned());
        }
        assert!(
            partly
                .finding()
                .sentence
                .contains("cannot open folder `Trash`")
        );
    }
}
