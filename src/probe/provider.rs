//! What the provider's event log says about one message.
//!
//! A message has several events, and the newest is not the one that counts: what ends its way outranks what only
//! happens on it, and of several ends the worst is the one to tell of.

use super::verdict::Cause;
use chrono::{DateTime, SecondsFormat, Utc};

/// What is known from the provider's event log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Word {
    /// Nobody asked, or the sender has no log that can be asked.
    #[default]
    None,
    /// It was asked, and this is why nothing came of it.
    Unavailable(Cause),
    /// The events of this message, in any order; none where the log does not know it, or not yet.
    Events(Vec<Event>),
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the provider's clock.
    pub at: Option<DateTime<Utc>>,
    /// What happened.
    pub kind: Kind,
    /// What the provider calls the message.
    pub message_id: Option<String>,
    /// What the receiving server, or the provider, said. On one line.
    pub reason: Option<String>,
}

/// What happened to a message, least telling first: the order is that of the ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Something that says nothing about delivery, such as an opening.
    Other,
    /// The provider took it.
    Accepted,
    /// The receiving server answered 4xx, or none answered; the provider tries again.
    Deferred,
    /// The receiving server said 250.
    Delivered,
    /// The provider gave up after temporary refusals.
    SoftBounce,
    /// The provider holds the address for invalid.
    Invalid,
    /// The receiving server refused for good.
    HardBounce,
    /// The recipient is on the provider's block list.
    Blocked,
    /// The provider itself refused, after it had said yes.
    Error,
}

impl Kind {
    /// Every kind, in the order of the ranking.
    pub const ALL: [Self; 9] = [
        Self::Other,
        Self::Accepted,
        Self::Deferred,
        Self::Delivered,
        Self::SoftBounce,
        Self::Invalid,
        Self::HardBounce,
        Self::Blocked,
        Self::Error,
    ];

    /// Whether the provider will not try to deliver the message any more, and has not delivered it.
    #[must_use]
    pub fn is_given_up(self) -> bool {
        self > Self::Delivered
    }

    /// In words: `deferred`, `hard bounce`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Accepted => "accepted",
            Self::Deferred => "deferred",
            Self::Delivered => "delivered",
            Self::SoftBounce => "soft bounce",
            Self::Invalid => "invalid",
            Self::HardBounce => "hard bounce",
            Self::Blocked => "blocked",
            Self::Error => "error",
        }
    }
}

impl Event {
    /// `deferred at 2026-11-25T03:14:07Z: 452 4.3.1 Insufficient system storage`.
    #[must_use]
    pub fn quote(&self) -> String {
        let mut text = self.kind.name().to_owned();
        if let Some(at) = self.at {
            text.push_str(" at ");
            text.push_str(&at.to_rfc3339_opts(SecondsFormat::Secs, true));
        }
        if let Some(reason) = &self.reason {
            text.push_str(": ");
            text.push_str(reason);
        }
        text
    }

    /// What the receiving server calls the message, where its reply says so: `250 2.0.0 Ok: queued as 4F2A000001`.
    #[must_use]
    pub fn queue_id(&self) -> Option<&str> {
        let (_, rest) = self.reason.as_deref()?.split_once("queued as ")?;
        let id = rest
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .next()?;
        (!id.is_empty()).then_some(id)
    }
}

impl Word {
    /// The event that decides: the one of the highest rank, and of several such the latest.
    #[must_use]
    pub fn decisive(&self) -> Option<&Event> {
        let Self::Events(events) = self else {
            return None;
        };
        events
            .iter()
            .filter(|event| event.kind != Kind::Other)
            .max_by_key(|event| (event.kind, event.at))
    }

    /// Whether the provider has given this message up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.decisive()
            .is_some_and(|event| event.kind.is_given_up())
    }

    /// The latest refusal of the receiving server that was only for then.
    #[must_use]
    pub fn last_deferral(&self) -> Option<&Event> {
        let Self::Events(events) = self else {
            return None;
        };
        events
            .iter()
            .filter(|event| event.kind == Kind::Deferred)
            .max_by_key(|event| event.at)
    }
}

/// An SMTP reply code and its enhanced status (RFC 3463), read from text that quotes a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// 400 to 599.
    pub code: u16,
    /// Class, subject, detail.
    pub status: Option<(u16, u16, u16)>,
}

impl Reply {
    /// The first refusal in a text: `452 4.3.1 …`, or a bare `4.3.1` behind words of the provider's own.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let words: Vec<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
            .filter(|word| !word.is_empty())
            .collect();
        let code = |word: &str| {
            let code: u16 = word.parse().ok()?;
            (word.len() == 3 && (400..600).contains(&code)).then_some(code)
        };
        let status = |word: &str| {
            let mut parts = word.trim_end_matches('.').splitn(3, '.');
            let mut part = || parts.next()?.parse::<u16>().ok();
            let status = (part()?, part()?, part()?);
            [4, 5].contains(&status.0).then_some(status)
        };
        let found = words.iter().enumerate().find_map(|(at, word)| {
            let next = words.get(at + 1).and_then(|next| status(next));
            code(word).map(|code| Self { code, status: next })
        });
        found.or_else(|| {
            let status = words.iter().find_map(|word| status(word))?;
            Some(Self {
                code: status.0 * 100 + 50,
                status: Some(status),
            })
        })
    }

    /// Subject and detail of the enhanced status.
    #[must_use]
    pub fn detail(self) -> Option<(u16, u16)> {
        self.status.map(|(_, subject, detail)| (subject, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, second: i64, reason: &str) -> Event {
        Event {
            at: DateTime::from_timestamp(1_795_000_000 + second, 0),
            kind,
            message_id: None,
            reason: Some(reason.to_owned()),
        }
    }

    #[test]
    fn what_ends_the_way_outranks_what_happens_on_it_whatever_came_last() {
        for (events, decisive) in [
            (vec![Kind::Accepted], Kind::Accepted),
            (
                vec![Kind::Delivered, Kind::Deferred, Kind::Accepted],
                Kind::Delivered,
            ),
            (
                vec![Kind::SoftBounce, Kind::Deferred, Kind::Other],
                Kind::SoftBounce,
            ),
            (vec![Kind::Blocked, Kind::Accepted], Kind::Blocked),
            (
                vec![Kind::Error, Kind::Blocked, Kind::HardBounce, Kind::Invalid],
                Kind::Error,
            ),
            (vec![Kind::Invalid, Kind::HardBounce], Kind::HardBounce),
        ] {
            let word = Word::Events(
                events
                    .iter()
                    .zip(0..)
                    .map(|(kind, second)| event(*kind, second, ""))
                    .collect(),
            );
            assert_eq!(word.decisive().unwrap().kind, decisive, "{events:?}");
        }
        assert_eq!(Word::Events(Vec::new()).decisive(), None);
        let opened = Word::Events(vec![event(Kind::Other, 0, "")]);
        assert_eq!(opened.decisive(), None);
    }

    #[test]
    fn of_equal_events_the_latest_counts() {
        let word = Word::Events(vec![
            event(Kind::Deferred, 60, "second"),
            event(Kind::Deferred, 0, "first"),
        ]);
        assert_eq!(word.decisive().unwrap().reason.as_deref(), Some("second"));
        assert_eq!(
            word.last_deferral().unwrap().reason.as_deref(),
            Some("second")
        );
    }

    #[test]
    fn replies_are_found_in_what_servers_and_providers_write() {
        for (text, code, status) in [
            (
                "452 4.3.1 Insufficient system storage",
                452,
                Some((4, 3, 1)),
            ),
            ("451-4.3.0 <a@b>: Temporary", 451, Some((4, 3, 0))),
            ("host mx[192.0.2.1] said: 450 try later", 450, None),
            (
                "smtp; 550 5.1.1 unknown user (in reply to RCPT)",
                550,
                Some((5, 1, 1)),
            ),
            ("mailbox full (4.2.2)", 450, Some((4, 2, 2))),
        ] {
            assert_eq!(Reply::find(text), Some(Reply { code, status }), "{text}");
        }
        for text in [
            "",
            "Connection refused",
            "port 2525 at 192.0.2.1",
            "250 2.0.0 Ok",
        ] {
            assert_eq!(Reply::find(text), None, "{text}");
        }
    }

    #[test]
    fn a_queue_id_is_quoted_only_where_the_reply_carries_one() {
        let id = |reason| {
            event(Kind::Delivered, 0, reason)
                .queue_id()
                .map(str::to_owned)
        };
        assert_eq!(
            id("250 2.0.0 Ok: queued as 4F2A0000001"),
            Some("4F2A0000001".to_owned())
        );
        assert_eq!(id("250 OK"), None);
        assert_eq!(id("queued as "), None);
    }
}
